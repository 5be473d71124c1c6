"""Listing, showing and comparing runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.runs import main
from orchestrator.store.records import LateResponse, SlotRecord
from orchestrator.store.run_folder import RunFolder
from tasks.messages import Status
from tests.orchestrator.observers.telling import SUMMARY
from tests.support import round_record, run_config


def made(path: Path, *rounds: dict[str, Any], **config: Any) -> RunFolder:
    """A run's folder with these rounds."""
    folder = RunFolder.create(path, run_config(**config))
    for number, changes in enumerate(rounds, 1):
        folder.close_round(round_record(number, **changes))
    return folder


def said(*arguments: str | Path, code: int = 0) -> str:
    """What the command says; it ends with ``code``."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def cells(text: str) -> list[list[str]]:
    """The cells of a table, which have two blanks between them."""
    return [[cell for cell in line.split("  ") if cell] for line in text.splitlines()]


def test_runs_are_listed_with_how_they_are_and_how_good(tmp_path: Path) -> None:
    # Given runs that have ended, are on, were killed before a round, and whose record is damaged
    made(tmp_path / "a-ended", {}, {}, rounds=2).save_summary(SUMMARY)
    running = made(tmp_path / "b-running", {"metrics": {"accuracy": 0.5}}, rounds=10, algorithm="fedprox")
    made(tmp_path / "c-killed", rounds=3)
    (made(tmp_path / "d-damaged").path / "history.jsonl").write_text("{}\n")
    (tmp_path / "no-run").mkdir()
    # When they are listed
    with running.lock():
        listed = cells(said("list", tmp_path))
    # Then each has its line, and what is none has none
    assert [[cell.strip() for cell in row] for row in listed[:4]] == [
        ["run", "status", "rounds", "algorithm", "workload", "model"],
        ["a-ended", "completed", "2/2", "fedavg", "tests.support:Pull", "loss 0.5000, accuracy 0.7500"],
        ["b-running", "running", "1/10", "fedprox", "tests.support:Pull", "accuracy 0.5000"],
        ["c-killed", "killed", "0/3", "fedavg", "tests.support:Pull", "-"],
    ]
    assert listed[4][0] == "d-damaged"
    assert "damaged: " in listed[4][1]
    assert len(listed) == 5


def test_a_run_is_shown_with_what_became_of_each_clients_orders(tmp_path: Path) -> None:
    # Given a run in which one client is accepted twice, and the other is rejected, lost and late
    anna = SlotRecord(status=Status.TRAINED, duration_s=2.0)
    rejected = SlotRecord(status=Status.REJECTED, reason="its length is\x1b[31m wrong", duration_s=4.0)
    lost = SlotRecord(status=Status.LOST, reason="the client vanished")
    late = [LateResponse(order_id="bert/run/1/train", client_id="bert", answered=Status.TRAINED)]
    folder = made(
        tmp_path / "run",
        {"cohort": ["anna", "bert"], "responses": {"anna": anna, "bert": rejected}},
        {
            "cohort": ["anna", "bert"], "responses": {"anna": anna, "bert": lost}, "late": late,
            "status": "failed", "reason": "1 update, 2 are needed",
        },
    )  # fmt: skip
    # When it is shown, then that is what its clients' lines say
    shown = said("show", folder.path)
    assert "run: killed\n" in shown
    assert "round 2 failed: 1 update, 2 are needed" in shown
    rows = {row[0]: [cell.strip() for cell in row[1:]] for row in cells(shown) if len(row) > 5}
    assert rows["client"][:6] == ["asked", "accepted", "rejected", "failed", "lost", "late"]
    assert rows["anna"] == ["2", "2", "0", "0", "0", "0", "2.00"]
    assert rows["bert"] == ["2", "0", "1", "0", "1", "1", "4.00", "the client vanished"]
    assert "\x1b" not in shown


def test_runs_are_compared_by_what_was_set_differently_and_what_came_of_it(tmp_path: Path) -> None:
    # Given two runs that differ in the algorithm
    first = made(tmp_path / "first", {"metrics": {"accuracy": 0.5}, "duration_s": 2.0}, {"duration_s": 4.0})
    second = made(tmp_path / "second", {"metrics": {"auc": 0.9}}, algorithm="fedprox")
    # When they are compared, then nothing else that was set is told
    head, *rest = cells(said("compare", first.path, second.path))
    assert [cell.strip() for cell in head] == ["first", "second"]
    rows = {row[0]: [cell.strip() for cell in row[1:]] for row in rest}
    assert rows == {
        "algorithm": ["fedavg", "fedprox"],
        "status": ["killed", "killed"],
        "rounds closed": ["2", "1"],
        "rounds failed": ["0", "0"],
        "loss": ["0.5000", "-"],
        "accuracy": ["0.7500", "-"],
        "auc": ["-", "0.9000"],
        "seconds a round": ["3", "1.5"],
        "MB down": ["0.0001", "0.0001"],
        "MB up": ["0.0002", "0.0002"],
    }


@pytest.mark.parametrize("command", ["show", "compare"])
def test_what_is_no_run_is_refused(tmp_path: Path, command: str) -> None:
    assert "isn't the folder of a run: it has no config.json" in said(command, tmp_path, code=2)


@pytest.mark.parametrize("arguments", ["list .", "show evil", "compare evil good"])
def test_nothing_of_another_s_folder_comes_onto_the_terminal_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "good")
    made(tmp_path / "evil", workload="x\x07\ny:Z")
    text = said(*arguments.split())
    assert r"x\x07\ny:Z" in text
    assert "\x07" not in text
