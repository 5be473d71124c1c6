"""The command in this process: what it refuses, and with what config it would begin."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from orchestrator.config import RunConfig
from orchestrator.driver.summary import summarise
from orchestrator.start import main
from orchestrator.store.records import Summary
from orchestrator.store.run_folder import RunFolder
from tasks.arrays import write_file
from tests.support import round_record, run_config


def refused(*arguments: str | Path, environment: dict[str, str | None] | None = None) -> str:
    """Run the command with flags that are wrong; return what it says."""
    before = sorted(Path.cwd().rglob("*"))
    environment = {"CELERY_BROKER_URL": None, **(environment or {})}
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert sorted(Path.cwd().rglob("*")) == before, "nothing is made of a run that can't be"
    return result.stderr


def one_line(text: str) -> str:
    """The message of our own errors: one line that starts with ``error: ``."""
    assert re.fullmatch(r"error: [^\n]+\n", text), text
    return text.removeprefix("error: ").rstrip()


def config_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> RunConfig:
    """The config with which the command would begin a run."""
    begun: list[RunConfig] = []

    def run_session(config: RunConfig, folder: RunFolder, *_: object) -> tuple[Summary, int]:
        begun.append(folder.config())
        return summarise(config, folder, "completed", "", 1.0), 0

    monkeypatch.setattr("orchestrator.start.run_session", run_session)
    result = CliRunner().invoke(main, arguments, env={"CELERY_BROKER_URL": None})
    assert result.exit_code == 0, result.output
    return begun[0]


def begun(path: Path, num_closed: int, **changes: object) -> RunFolder:
    """The folder of a run of which so many rounds are closed."""
    folder = RunFolder.create(path, run_config(**changes))
    for number in range(1, num_closed + 1):
        digest = write_file(folder.checkpoint(number), {"w": np.full(2, number, np.float32)})
        folder.close_round(round_record(number, digest=digest))
    return folder
