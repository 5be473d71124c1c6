"""Where a round's time went."""

from __future__ import annotations

from orchestrator.observers.events import JobDone, RoundOpened, SlotsFilled
from orchestrator.page.timeline import MAX_BARS, time_line_of
from tests.orchestrator.page.told import closed, started, state_of, trained


def test_bars_say_who_took_how_long_and_when_own_workers_worked() -> None:
    # Given a round of ten seconds: anna answers after four, bert after eight, both train six at the most
    opened = RoundOpened(round_number=1, cohort=("anna", "bert"))
    state = state_of(
        (0.0, started(1)),
        (0.0, opened),
        (4.0, SlotsFilled(round_number=1, slots={"anna": trained()})),
        (8.0, SlotsFilled(round_number=1, slots={"bert": trained()})),
        (10.0, JobDone(round_number=1, job="close_round", duration_s=1.0)),
        (10.0, closed(1)),
    )
    assert state.round is not None
    # When its time line is drawn
    line = time_line_of(state.round, now=0.0)
    # Then who took longest comes first, with the share of it that was training
    assert [(bar.name, bar.start, bar.length, round(bar.work)) for bar in line.bars] == [
        ("bert", 0.0, 80.0, 75),
        ("anna", 0.0, 40.0, 100),
        ("close_round", 90.0, 10.0, 100),
    ]
    # And it is said who was waited for
    assert "the last after 8.00 s (from bert)" in line.told
    assert "A client waited 2.00 s for the last one, on average" in line.told
    assert "Judging and aggregating took 2.00 s" in line.told


def test_an_open_round_goes_up_to_now_and_few_clients_have_a_bar() -> None:
    opened = RoundOpened(round_number=1, cohort=tuple(f"client-{n}" for n in range(MAX_BARS + 5)))
    state = state_of((0.0, started(1)), (0.0, opened))
    assert state.round is not None
    line = time_line_of(state.round, now=state.round.opened_at + 20)
    assert line.total_s == 20
    assert (len(line.bars), line.num_hidden) == (MAX_BARS, 5)
    assert {bar.length for bar in line.bars} == {100.0}
    assert line.told == "No client has answered yet."
