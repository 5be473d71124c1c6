from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.observers import ObserverContext
from orchestrator.observers.events import Event, UpdatesJudged, Waiting
from orchestrator.observers.events_file import EventsFile, read_events
from tests.orchestrator.observers.telling import CLOSED, ENDED, STARTED
from tests.support import run_config

JUDGED = UpdatesJudged(round_number=3, accepted=("anna",), rejected={"bert": "too long"}, scores={"anna": {"norm": 1}})
EVENTS: list[Event] = [STARTED, Waiting(num_connected=1, num_needed=2), JUDGED, CLOSED, ENDED]


def observer(folder: Path) -> EventsFile:
    return EventsFile(ObserverContext(folder, run_config(), "", Console()))


def write(folder: Path, *events: Event) -> Path:
    """The file after these events."""
    file = observer(folder)
    for event in events:
        file.observe(event)
    file.close()
    return folder / "events.jsonl"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    # Given events, when they are written and read, then they are the same
    assert list(read_events(write(tmp_path, *EVENTS))) == EVENTS


def test_a_line_is_json_with_time_run_and_kind_first(tmp_path: Path) -> None:
    # Given an event, when it is written, then anybody can read it
    [line] = write(tmp_path, JUDGED).read_text().splitlines()
    assert json.loads(line) == {
        "time": "", "run_id": "", "kind": "updates_judged", "round_number": 3, "accepted": ["anna"],
        "rejected": {"bert": "too long"}, "scores": {"anna": {"norm": 1.0}},
    }  # fmt: skip
    assert list(json.loads(line))[:3] == ["time", "run_id", "kind"]


def test_a_last_line_that_was_cut_short_is_no_event_and_goes_when_the_run_is_taken_up(tmp_path: Path) -> None:
    # Given a file whose last line was cut short
    path = write(tmp_path, *EVENTS)
    path.write_bytes(path.read_bytes()[:-20])
    # When it is read, then that event is left out
    assert list(read_events(path)) == EVENTS[:-1]
    # And when it is gone on with, then it is whole again
    assert list(read_events(write(tmp_path, CLOSED))) == [*EVENTS[:-1], CLOSED]


def test_a_disk_that_is_full_is_told(tmp_path: Path) -> None:
    # Given a file on a disk that is full
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    file = observer(tmp_path)
    # When an event is to be written, then that fails, each time
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            file.observe(JUDGED)
    file.close()
