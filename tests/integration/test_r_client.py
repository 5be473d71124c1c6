"""The client in R of examples/r-client: it is cut by the time, and is what its page says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tasks.arrays import map_file
from tests.integration.harness import ROOT, Field, history

EXAMPLE = ROOT / "examples" / "r-client"
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    """The example in a folder of its own, with the data that the README makes."""
    if shutil.which("Rscript") is None:
        pytest.fail("R isn't here: make r, or apt-get install --no-install-recommends r-base-core")
    folder = tmp_path / "sites"
    shutil.copytree(EXAMPLE, folder)
    commands = re.search(r"```sh\n(mkdir data\n.*?)```", README, re.DOTALL)
    assert commands is not None
    subprocess.run(["sh", "-ec", commands[1]], cwd=folder, check=True, timeout=60)
    return folder


def test_the_lines_that_the_page_goes_through_are_the_program_s() -> None:
    # Given the page's table of lines
    page = (ROOT / "docs" / "any-program.md").read_text(encoding="utf-8").partition("## A client in R")[2]
    lines = re.findall(r"^\| `(.+?)`", page, re.MULTILINE)
    assert len(lines) > 9
    # When they are looked for in the program, up to where one is cut, then they are there
    program = (EXAMPLE / "client.R").read_text(encoding="utf-8")
    assert [line for line in lines if line.partition(" …")[0] not in program] == []


def test_what_r_has_done_when_the_time_is_over_counts(field: Field, sites: Path) -> None:
    # Given more passes than there is time for
    options = "study.toml --rounds 1 --epochs 100000 --timeout 6 --no-evaluate-clients"
    # When they train
    field.run("run", options, workload=None, cwd=sites).succeeds()
    # Then what they have done by then is in the model
    (record,) = history(sites / "run")
    for response in record["responses"].values():
        assert response["status"] == "timed_out"
        assert 1 <= response["num_steps"] == response["num_epochs"] < 100_000
    assert record["train_metrics"]["train_loss"] < np.log(2)
    assert np.abs(map_file(sites / "run" / "checkpoints" / "round-0001.safetensors")["beta"]).max() > 0
