"""Examples are run once a process, however many tests look at what they leave."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.examples import FOLDER, Example


@dataclass(frozen=True, slots=True)
class Ran:
    """What an example printed, and the folder of its run."""

    printed: str
    run_dir: Path


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Ran]:
    """Runs an example as its README says, by its name; the second time it returns what the first has left."""

    @functools.cache
    def run(name: str) -> Ran:
        folder = tmp_path_factory.mktemp(name)
        done = Example(FOLDER / name).run(folder)
        assert done.returncode == 0, done.stderr
        [run_dir] = (folder / "runs").iterdir()
        return Ran(done.stdout, run_dir)

    return run
