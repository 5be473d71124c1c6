"""Observers of real runs: one of a user's own, and those that raise, hang, or have no disk. None changes a run."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

from orchestrator.store.run_folder import RunFolder
from tests.integration.harness import ROOT, WORKLOADS, Field, evaluations, events, history
from tests.integration.test_own_code import documented
from tests.support import run_config

OPTIONS = "--clients 2 --rounds 2"
PATHS = f"{WORKLOADS}:{ROOT}"
CLASS = """
class Bad:
    def __init__(self, context):
        {made}

    def observe(self, event):
        {told}

    def close(self):
        pass
"""
BAD = {
    "raises": (
        {"told": "raise ZeroDivisionError('no luck')"},
        ["observer bad:Bad failed", "ZeroDivisionError: no luck", "observer bad:Bad is told nothing more"],
    ),
    "hangs": (
        {"told": "import time; time.sleep(3600)"},
        ["observer bad:Bad isn't done: the run ends without it"],
    ),
    "can't be made": (
        {"made": "raise OSError('no port')"},
        ["observer bad:Bad can't be made", "OSError: no port"],
    ),
}
"""What is wrong with an observer -> what it does, and what the log says."""


@pytest.mark.parametrize("how", BAD)
def test_a_bad_observer_neither_stops_a_run_nor_keeps_others_from_their_events(
    field: Field, tmp_path: Path, how: str
) -> None:
    # Given an observer that raises, hangs for an hour, or can't even be made
    does, said = BAD[how]
    (tmp_path / "bad.py").write_text(CLASS.format(**{"made": "pass", "told": "pass", **does}))
    # When a run is told to it
    program = field.run("run", OPTIONS, "--observe", "bad:Bad,plot,energy:10:100", cwd=tmp_path, PYTHONPATH=PATHS)
    program.succeeds()
    # Then the run completes, the log says so, and the others were told all
    assert len(history(tmp_path / "run")) == 2
    assert [text for text in said if text not in program.output] == []
    assert events(tmp_path / "run", "run_ended")[0].summary.status == "completed"
    # And the energy is told: each round has what both clients took, and the summary what they took in all
    summary = RunFolder(tmp_path / "run").summary()
    assert summary is not None
    assert summary.energy is not None
    assert summary.energy.said() in program.output
    lines = [json.loads(line) for line in (tmp_path / "run" / "energy.jsonl").read_text().splitlines()]
    assert [line["round_number"] for line in lines] == [1, 2, None]
    assert all(line["cpu_s"].keys() == {"client-1", "client-2"} and min(line["cpu_s"].values()) > 0 for line in lines)
    assert (tmp_path / "run" / "plot.png").exists()


def test_a_disk_that_is_full_for_the_events_doesnt_end_a_run(field: Field, tmp_path: Path) -> None:
    # Given a run whose file of events is on a disk that is full
    config = run_config(workload="pulled:Pulled", rounds=2)
    folder = RunFolder.create(tmp_path / "run", config)
    folder.events.symlink_to("/dev/full")
    # When it goes on
    program = field.resume(folder.path)
    program.succeeds()
    # Then it completes, and the log says so
    assert len(history(folder.path)) == 2
    assert "observer events failed" in program.output
    assert "No space left on device" in program.output
    assert "observer events is told nothing more: the run goes on without it" in program.output


def test_an_observer_of_ones_own_after_its_page_alone(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given what docs/observers.md says to put into a folder outside the repo
    (tmp_path / "my_observer.py").write_text(documented("docs/observers.md"))
    # When the page's command is run there
    command = re.findall(r"orchestrator\.start (--observe console,my_.*)", (ROOT / "docs/observers.md").read_text())[0]
    field.run("run", OPTIONS, command, workload="digits", cwd=tmp_path).succeeds()
    # Then it was told the run
    evaluated = {line["round_number"]: line["metrics"] for line in evaluations(tmp_path / "run")}
    first, *_ = (tmp_path / "run" / "best.txt").read_text().splitlines()
    assert first == f"round 1: accuracy {evaluated[1]['accuracy']:.4f}"
    # And its function finds the losses in the events
    monkeypatch.syspath_prepend(str(tmp_path))
    losses = importlib.import_module("my_observer").losses(str(tmp_path / "run"))
    assert losses == {round_number: metrics["loss"] for round_number, metrics in evaluated.items()}


def test_logs_are_json_with_run_round_and_client(field: Field, tmp_path: Path) -> None:
    # Given a run with logs as JSON, of one client, whose worker serves no other on any machine
    program = field.run("run", "--clients 1 --rounds 2 --log-format json", cwd=tmp_path, PYTHONPATH=PATHS)
    program.succeeds()
    # When the lines of its log, and of standard error, are read
    text = (tmp_path / "run" / "logs" / "orchestrator.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    said = [json.loads(line) for line in program.output.splitlines() if line.startswith("{")]
    # Then each names the run, and those of a round the round
    [run_id] = {line["run_id"] for line in lines}
    assert run_id == json.loads((tmp_path / "run" / "config.json").read_text())["run_id"]
    assert [line["round_number"] for line in lines if " opened: " in line["message"]] == [1, 2]
    assert {line["message"] for line in said} <= {line["message"] for line in lines}
    assert {line["time"] for line in said} <= {line["time"] for line in lines}
    # And what a client logs of an order names the client too
    text = (tmp_path / "run" / "logs" / "client-1.log").read_text()
    of_orders = [json.loads(line) for line in text.splitlines() if line.startswith("{") and "round_number" in line]
    assert {(line["client_id"], line["run_id"]) for line in of_orders} == {("client-1", run_id)}
    assert {line["round_number"] for line in of_orders} == {1, 2}
