"""``rounds.csv``, as a spreadsheet reads it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.observers import ObserverContext
from orchestrator.observers.csv_file import WRITE_EVERY_S, CsvFile
from orchestrator.store.records import Evaluated
from orchestrator.store.run_folder import RunFolder
from tests.orchestrator.observers.telling import ENDED, FIRST_START, NUMBERS, SECOND_START, closed, tell
from tests.support import round_record, run_config


def rows(folder: Path) -> list[dict[str, str]]:
    """The file's rows."""
    with (folder / "rounds.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_round_is_a_row(tmp_path: Path) -> None:
    # Given a run from start to end
    tell(tmp_path, "csv", *FIRST_START, *SECOND_START[2:])
    # When its file is read, then each round has its numbers, and before the first there is the initial model
    found = rows(tmp_path)
    assert [(row["round"], row["status"]) for row in found] == [("0", ""), *((str(n), "closed") for n in (1, 2, 3))]
    told = {
        name: [(int(row["round"]), float(row[name])) for row in found if row[name]]
        for name in found[0]
        if name not in ("round", "status", "reason")
    }
    assert told == NUMBERS


def test_a_run_that_is_taken_up_again_has_the_rows_of_its_former_start(tmp_path: Path) -> None:
    # Given a folder with two rounds that were closed before
    folder = RunFolder.create(tmp_path / "run", run_config())
    folder.save_initial(Evaluated(metrics={"loss": 9.0}))
    for number in (1, 2):
        folder.close_round(round_record(number))
        folder.save_evaluation(number, Evaluated(metrics={"loss": float(number)}), durable=False)
    # When it is taken up again for a third
    tell(folder.path, "csv", *SECOND_START)
    # Then all three have their rows
    assert [(row["round"], row["held_out/loss"]) for row in rows(folder.path)] == [
        ("0", "0.0"), ("1", "1.0"), ("2", "2.0"), ("3", "3.0"),
    ]  # fmt: skip


def test_the_file_is_written_now_and_then_and_when_the_run_ends(tmp_path: Path) -> None:
    # Given an observer by a clock
    now = [0.0]
    observer = CsvFile(ObserverContext(tmp_path, run_config(), "", Console()), lambda: now[0])
    written = []
    # When rounds are closed, some sooner than others
    for number, at in ((1, 0.0), (2, 1.0), (3, WRITE_EVERY_S), (4, WRITE_EVERY_S + 1)):
        now[0] = at
        observer.observe(closed(number))
        written.append(len(rows(tmp_path)))
    observer.observe(ENDED)
    # Then it is written at the first and the third, and in the end whole
    assert written == [1, 1, 3, 3]
    assert len(rows(tmp_path)) == 4


@pytest.mark.parametrize("reason", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)"])
def test_a_reason_is_no_formula(tmp_path: Path, reason: str) -> None:
    # Given a round whose reason a client made up, when it is written, then it is text to a spreadsheet
    tell(tmp_path, "csv", closed(1, status="failed", reason=reason), ENDED)
    assert [row["reason"] for row in rows(tmp_path)] == [f"'{reason}"]


def test_no_reason_begins_another_cell_where_semicolons_end_them(tmp_path: Path) -> None:
    tell(tmp_path, "csv", closed(1, status="failed", reason="anna failed; =1+1"), ENDED)
    assert [row["reason"] for row in rows(tmp_path)] == ["anna failed, =1+1"]
