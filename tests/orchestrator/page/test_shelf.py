"""Runs are found by name, and read again where they have changed."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from orchestrator.page.shelf import MAX_FOLLOWED, Shelf
from tests.orchestrator.page.told import Told


def test_a_line_is_read_again_when_something_was_written(tmp_path: Path) -> None:
    # Given a run that is listed
    told = Told(tmp_path / "run", rounds=3)
    told.begin("anna")
    shelf = Shelf(tmp_path)
    (before,) = shelf.lines()
    # When nothing was written, then the line is the one that is known; when a round was closed it is another
    assert shelf.lines() == [before]
    told.close(1, "anna", at_s=10)
    (after,) = shelf.lines()
    assert (before.state.num_closed, after.state.num_closed) == (0, 1)


def test_the_newest_run_comes_first_and_one_that_is_gone_is_not_listed(tmp_path: Path) -> None:
    told = [Told(tmp_path / name, rounds=1) for name in ("a", "b")]
    shelf = Shelf(tmp_path)
    assert shelf.names() == ["b", "a"]
    assert [line.name for line in shelf.lines()] == ["b", "a"]
    told[0].folder.config_path.unlink()
    assert [line.name for line in shelf.lines()] == ["b"]


def test_a_folder_whose_name_is_no_text_is_listed_and_found_by_what_is_shown(tmp_path: Path) -> None:
    # Given runs in folders of which one has a byte in its name that no text has
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff"))
    for path in (tmp_path / "a", odd):
        Told(path, rounds=1)
    shelf = Shelf(tmp_path)
    # When they are listed, then its name can be shown, and it is found by that
    assert [line.name for line in shelf.lines()] == [r"b\xff", "a"]
    found = shelf.run(r"b\xff")
    assert found is not None
    assert found.folder.path == odd


def test_a_look_takes_no_longer_however_many_runs_there_are(tmp_path: Path) -> None:
    # Given three runs, and a clock that goes on a second at each look at it
    for name in ("a", "b", "c"):
        Told(tmp_path / name, rounds=1).begin("anna")
    shelf = Shelf(tmp_path, clock=map(float, count()).__next__)
    # When they are listed, then the newest is read first, and another one at each look
    assert [line.status for line in shelf.lines()] == ["killed", "unread", "unread"]
    assert [line.status for line in shelf.lines()] == ["killed", "killed", "unread"]
    assert [line.status for line in shelf.lines()] == ["killed", "killed", "killed"]


def test_no_more_than_a_few_runs_are_kept_in_memory(tmp_path: Path) -> None:
    # Given more runs than are kept
    for number in range(MAX_FOLLOWED + 1):
        Told(tmp_path / f"run-{number:02}", rounds=1)
    shelf = Shelf(tmp_path)
    first = shelf.run("run-00")
    assert shelf.run("run-00") is first
    # When all are looked at, then the one that was looked at first is read anew
    for name in shelf.names():
        shelf.run(name)
    for name in sorted(shelf.names()):
        shelf.run(name)
    assert shelf.run("run-00") is not first
    assert shelf.run("../run-00") is None
