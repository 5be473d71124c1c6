"""A run is read on from where it was read to, whatever is in its file."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from orchestrator.observers.events import RoundOpened, SlotsFilled, Waiting
from orchestrator.page.follow import FollowedRun, status_of, tail_of
from orchestrator.page.state import RunState
from tests.orchestrator.page.told import Told, trained


def test_what_is_new_is_read_and_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    # Given a run that was read
    told = Told(tmp_path / "run", rounds=3)
    told.begin("anna")
    run = FollowedRun(told.folder)
    run.refresh()
    assert run.state.num_closed == 0
    # When a round is closed, and of the next event half a line is there
    told.close(1, "anna", at_s=10)
    with told.folder.events.open("ab") as file:
        file.write(b'{"kind": "round_op')
    run.refresh()
    assert run.share_read == 1
    # Then the round is known, and what follows is when the line is whole
    assert run.state.num_closed == 1
    with told.folder.events.open("ab") as file:
        file.write(b'ened", "round_number": 2, "cohort": ["anna"]}\n')
    run.refresh()
    assert run.state.round is not None
    assert run.state.round.number == 2


def test_lines_that_are_no_events_are_passed_over(tmp_path: Path) -> None:
    told = Told(tmp_path / "run", rounds=3)
    no_time = b'{"kind": "waiting", "num_connected": 1, "num_needed": 2, "time": "noon"}\n'
    told.folder.events.write_bytes(b'nonsense\n{"kind": "of another version"}\n\xff\n' + no_time)
    told.begin("anna")
    run = FollowedRun(told.folder)
    run.refresh()
    assert set(run.state.clients) == {"anna"}


def test_a_long_file_is_read_a_part_at_a_time(tmp_path: Path) -> None:
    # Given a clock that goes on a second at each look
    told = Told(tmp_path / "run", rounds=3)
    told.begin("anna")
    run = FollowedRun(told.folder, clock=map(float, count()).__next__)
    # When it is read for half a second, then an event is known, and how much is left
    run.refresh(limit_s=0.5)
    assert run.state.started is not None
    assert not run.state.clients
    assert 0 < run.share_read < 1
    while run.share_read < 1:
        run.refresh(limit_s=0.5)
    assert set(run.state.clients) == {"anna"}


def test_another_run_in_the_same_folder_is_read_from_its_beginning(tmp_path: Path) -> None:
    told = Told(tmp_path / "run", rounds=3)
    told.begin("anna")
    run = FollowedRun(told.folder)
    run.refresh()
    # When it has told of more than the former, then nothing is left of that one
    told.folder.events.unlink()
    told.tell(Waiting(num_connected=0, num_needed=2))
    told.begin("bert", "carl")
    run.refresh()
    assert set(run.state.clients) == {"bert", "carl"}
    # And when there is nothing yet, nothing is known
    told.folder.events.write_bytes(b"")
    run.refresh()
    assert not run.state.clients


def test_a_round_is_read_again_from_its_opening(tmp_path: Path) -> None:
    # Given a run with three rounds
    told = Told(tmp_path / "run", rounds=3)
    told.begin("anna", "bert")
    for number in (1, 2, 3):
        told.close(number, "anna", "bert", at_s=10 * number)
    run = FollowedRun(told.folder)
    run.refresh()
    # When one is asked for, then it is that one, with its evaluation
    view = run.round(2)
    assert view is not None
    assert view.number == 2
    assert view.evaluated is not None
    assert view.evaluated.metrics["loss"] == 0.5
    assert run.round(4) is None


def test_a_runs_status_is_told_by_its_lock_and_its_summary(tmp_path: Path) -> None:
    told = Told(tmp_path / "run", rounds=1)
    # Given a run that was begun: it runs as long as its lock is held, and was killed if nobody holds it
    with told.folder.lock():
        assert status_of(told.folder, RunState()) == "running"
    assert status_of(told.folder, RunState()) == "killed"
    # And of one whose events were lost, the summary says how it ended
    told.end(status="interrupted")
    assert status_of(told.folder, RunState()) == "interrupted"
    assert status_of(told.folder, tail_of(told.folder, 1)) == "interrupted"
    (told.folder.path / "summary.json").write_text("{")
    assert status_of(told.folder, RunState()) == "killed"


def test_the_end_of_a_long_file_says_how_far_a_run_is(tmp_path: Path) -> None:
    # Given a run whose early events are longer than what is read
    told = Told(tmp_path / "run", rounds=9)
    told.tell(RoundOpened(round_number=1, cohort=tuple(f"client-{n}" for n in range(60_000))))
    told.close(7, "anna")
    # When the end is read, then the last round is known
    state = tail_of(told.folder, 9)
    assert (state.num_closed, state.num_rounds) == (7, 9)
    assert not any(name.startswith("client-") for name in state.clients)
    # And so it is while the next one's clients answer, who are too many for that end
    for _ in range(12):
        told.tell(SlotsFilled(round_number=8, slots={f"client-{n}": trained() for n in range(500)}))
    assert not tail_of(told.folder, 9).rounds
    assert tail_of(told.folder, 9).num_closed == 7
