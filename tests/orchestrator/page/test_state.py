"""What a run's events add up to."""

from __future__ import annotations

import pytest

from orchestrator.observers.events import (
    ClientsJoined,
    Event,
    JoinedLive,
    ModelEvaluated,
    OrdersTaken,
    RoundOpened,
    RunEnded,
    SlotsFilled,
    StoppedEarly,
    UpdatesJudged,
    Waiting,
)
from orchestrator.page import state as states
from orchestrator.page.round_view import SlotState
from tasks.messages import Status
from tests.orchestrator.observers.telling import SUMMARY
from tests.orchestrator.page.told import closed, started, state_of, trained


def test_an_order_is_trained_then_sent_then_accepted_or_rejected() -> None:
    # Given a round that is open, when nothing has come, then its clients are waited for
    events: list[tuple[float, Event]] = [(0.0, started(2)), (1.0, RoundOpened(round_number=1, cohort=("anna", "bert")))]
    view = state_of(*events).round
    assert view is not None
    assert view.counts() == {SlotState.WAITING: 2}
    # When their workers have taken the orders, then they train
    events += [(2.0, OrdersTaken(round_number=1, client_ids=("anna", "bert", "gone")))]
    view = state_of(*events).round
    assert view is not None
    assert view.counts() == {SlotState.TRAINING: 2}
    # When one has answered and another has joined, then its update is sent
    events += [(3.0, SlotsFilled(round_number=1, slots={"anna": trained()}))]
    events += [(3.5, OrdersTaken(round_number=1, client_ids=("anna",)))]
    events += [(4.0, JoinedLive(round_number=1, client_ids=("carl",)))]
    view = state_of(*events).round
    assert view is not None
    assert view.counts() == {SlotState.TRAINING: 1, SlotState.WAITING: 1, SlotState.SENT: 1}
    assert view.slots["carl"].asked_at - view.opened_at == 3.0
    assert {name: line.num_asked for name, line in state_of(*events).clients.items()} == dict.fromkeys(view.slots, 1)
    # And when it is decided, then it is accepted
    events += [(5.0, UpdatesJudged(round_number=1, accepted=("anna",), rejected={"bert": "no"}, scores={}))]
    view = state_of(*events).round
    assert view is not None
    assert view.slots["anna"].state is SlotState.ACCEPTED
    assert view.slots["bert"].reason == "no"
    # And when the run is over, then nobody waits for the third
    view = state_of(*events, (6.0, RunEnded(summary=SUMMARY))).round
    assert view is not None
    assert view.slots["carl"].state is SlotState.UNANSWERED


def test_an_update_that_was_cut_short_is_known_as_such_when_it_is_accepted() -> None:
    # Given a client that was cut short at its timeout
    cut = trained().model_copy(update={"status": Status.TIMED_OUT})
    events: list[tuple[float, Event]] = [(1.0, RoundOpened(round_number=1, cohort=("anna", "bert")))]
    events += [(3.0, SlotsFilled(round_number=1, slots={"anna": cut, "bert": trained()}))]
    view = state_of(*events).round
    assert view is not None
    assert view.slots["anna"].state is SlotState.TIMED_OUT
    # When what it has done is accepted, then both are known
    view.take(UpdatesJudged(round_number=1, accepted=("anna", "bert"), rejected={}, scores={}))
    assert [(slot.state, slot.is_cut_short) for slot in view.slots.values()] == [
        (SlotState.ACCEPTED, True),
        (SlotState.ACCEPTED, False),
    ]


def test_the_time_left_is_told_by_the_pace_of_the_last_rounds() -> None:
    # Given a run of ten rounds, of which three are closed, ten seconds after each other
    events: list[tuple[float, Event]] = [(0.0, started(10)), (10.0, closed(1)), (20.0, closed(2)), (30.0, closed(3))]
    state = state_of(*events)
    # When four seconds of the fourth have gone, then 66 are left
    assert state.time_left_s(state.told_at + 4) == pytest.approx(66)
    # And after the first round, or when it is over, nothing is known of it
    assert state_of(*events[:2]).time_left_s(0) is None
    assert state_of(*events, (40.0, RunEnded(summary=SUMMARY))).time_left_s(0) is None


def test_a_run_that_is_taken_up_again_goes_on_where_it_was() -> None:
    # Given a run that was killed after its third round, of which the last was evaluated twice
    evaluated = ModelEvaluated(round_number=3, metrics={"loss": 0.5})
    joined = ClientsJoined(clients={"anna": 5})
    events: list[tuple[float, Event]] = [(0.0, started(10)), (1.0, joined), (10.0, closed(2)), (20.0, closed(3))]
    events += [(21.0, evaluated), (99.0, started(10, rounds_closed=3)), (100.0, evaluated)]
    # When its events are read
    state = state_of(*events)
    # Then it has three rounds and one evaluation of the third, nobody is connected, and its pace is to be found anew
    assert state.num_closed == 3
    assert state.curves["loss"][states.HELD_OUT] == [(3, 0.5)]
    assert state.clients["anna"].connected_at is None
    assert state.time_left_s(0) is None


def test_what_it_waits_for_is_told_as_long_as_it_waits() -> None:
    waiting = (1.0, Waiting(num_connected=1, num_needed=2))
    assert state_of((0.0, started(2)), waiting).note == "waiting for clients: 1 of 2 connected"
    assert state_of(waiting, (2.0, RoundOpened(round_number=1, cohort=()))).note == ""
    assert state_of((2.0, StoppedEarly(round_number=1, reason="loss <= 0.1"))).note == "loss <= 0.1"


def test_however_many_metrics_clients_make_up_few_are_kept() -> None:
    events = [(0.0, closed(n, train_metrics={f"m{n}": 1.0})) for n in range(1, states.MAX_CURVES + 50)]
    assert len(state_of(*events).curves) == states.MAX_CURVES
