from __future__ import annotations

import logging
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.observers import ObserverContext
from orchestrator.observers.events import (
    ClientsEvaluated,
    ClientsJoined,
    ClientsLeft,
    EvaluationSlow,
    Event,
    Initialised,
    JobDone,
    JoinedLive,
    LeftOut,
    ModelEvaluated,
    Outcome,
    ResponsesLate,
    RoundOpened,
    SlotsFilled,
    UpdatesJudged,
    Waiting,
)
from orchestrator.observers.log import Log, lines_of
from orchestrator.store.records import SlotRecord
from tasks.messages import Response, Status
from tests.orchestrator.observers.telling import CLOSED, ENDED, FAILED, STARTED
from tests.support import run_config

TRAINED = Outcome(status=Status.TRAINED, metrics={"train_loss": 0.5})
VANISHED = Outcome(status=Status.LOST, reason="the client vanished")
TRAINING = {"num_accepted": 3, "train_metrics": {"train_loss": 0.5, "norm": 1e-5}, "train_partial": {"norm": 2}}
MANY = tuple(f"client-{number:04d}" for number in range(1, 215))


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (STARTED, "run run: fedavg on digits, 10 rounds, in /runs/run"),
        (
            STARTED.model_copy(update={"rounds_closed": 4}),
            "run run: fedavg on digits, 10 rounds, 4 of them closed already, in /runs/run",
        ),
        (Waiting(num_connected=1, num_needed=3), "waiting for clients: 1 of 3 connected"),
        (Waiting(num_connected=1, num_needed=2, reason="1 of 3 fit"), "waiting for clients: 1 of 3 fit"),
        (ClientsJoined(clients={"anna": 70}), "client anna joined with 70 examples"),
        (ClientsJoined(clients={"anna": 70, "bert": 30}), "2 clients (anna, bert) joined with 100 examples"),
        (
            ClientsJoined(clients=dict.fromkeys(MANY, 10)),
            "214 clients (client-0001, client-0002, client-0003 and 211 more) joined with 2140 examples",
        ),
        (ClientsLeft(client_ids=("anna",)), "client anna left"),
        (ClientsLeft(client_ids=("anna", "bert", "carl")), "3 clients (anna, bert, carl) left"),
        (
            Initialised(metrics={"loss": 2.30259, "accuracy": 0.1}),
            "the initial model: loss 2.3026, accuracy 0.1000",
        ),
        (Initialised(metrics={}), "the initial model: no held-out data to evaluate on"),
        (Initialised(metrics={}, problem="the loss is nan"), "the initial model: not evaluated: the loss is nan"),
        (CLOSED, "round 3 closed, 1.50 s"),
        (
            CLOSED.model_copy(update=TRAINING),
            "round 3 closed, 1.50 s, train_loss 0.5000, norm 1e-05 (2 of 3 clients)",
        ),
        (
            ModelEvaluated(round_number=3, metrics={"loss": 0.5}, problem="auc is nan"),
            "round 3: loss 0.5000, auc is nan",
        ),
        (
            ModelEvaluated(round_number=3, metrics={"loss": 0.5, "accuracy": 0.75}),
            "round 3: loss 0.5000, accuracy 0.7500",
        ),
        (
            ModelEvaluated(round_number=3, metrics={}, problem="evaluate(): no luck"),
            "round 3: not evaluated: evaluate(): no luck",
        ),
        (FAILED, "round 4 failed: 0 updates, 0.12 s"),
        (RoundOpened(round_number=3, cohort=("anna", "bert")), "round 3 opened: 2 clients to train"),
        (RoundOpened(round_number=3, cohort=("anna",)), "round 3 opened: 1 client to train"),
        (JoinedLive(round_number=3, client_ids=("dora",)), "round 3: client dora joined it live"),
        (SlotsFilled(round_number=3, slots={"anna": TRAINED}), "round 3: client anna trained"),
        (
            SlotsFilled(round_number=3, slots={"bert": VANISHED}),
            "round 3: client bert lost: the client vanished",
        ),
        (
            SlotsFilled(round_number=3, slots={"bert": Outcome(status=Status.TIMED_OUT)}),
            "round 3: client bert timed_out",
        ),
        (
            UpdatesJudged(round_number=3, accepted=("anna",), rejected={"bert": "norm: 9 is too long"}, scores={}),
            "round 3: the update of client bert is rejected: norm: 9 is too long",
        ),
        (
            ResponsesLate(round_number=3, orders={"anna/run/1/train": "anna", "anna/run/2/train": "anna"}),
            "round 3: answers of client anna came late, and count for nothing",
        ),
        (
            ClientsEvaluated(
                round_number=3, metrics={}, num_evaluated=1, not_evaluated=dict.fromkeys("abcd", "no luck")
            ),
            "4 of 5 clients (a, b, c and 1 more) didn't evaluate the model: no luck",
        ),
        (
            EvaluationSlow(num_waiting=3),
            "evaluating a model on held-out data takes longer than a round: 3 models wait for it; --evaluate-every N "
            "evaluates every N rounds, --evaluate-share F on a share of the examples",
        ),
        (
            LeftOut(round_number=5, num_rounds=5, slots={"bert": VANISHED}),
            "client bert: asked in 5 rounds in a row, no update was accepted; the last time lost: the client vanished",
        ),
    ],
)  # fmt: skip
def test_an_event_is_told_in_a_line(event: Event, line: str) -> None:
    # Given an event, when it is told, then it is this
    assert [told.text for told in lines_of(event)] == [line]


@pytest.mark.parametrize("event", [ENDED, JobDone(round_number=3, job="evaluate", duration_s=0.5)])
def test_what_the_command_says_itself_and_what_every_round_has_is_no_line(event: Event) -> None:
    # Given the end of the run, or of a job, when it is told, then nothing is said
    assert list(lines_of(event)) == []


def test_clients_that_ended_alike_are_told_in_a_line_however_many_they_are() -> None:
    # Given a thousand clients that trained, and four that vanished, in one look
    slots = {f"client-{number}": TRAINED for number in range(1000)} | dict.fromkeys("abcd", VANISHED)
    # When it is told, then in two lines, of which the second is a warning
    told = [(line.text, line.is_warning) for line in lines_of(SlotsFilled(round_number=1, slots=slots))]
    assert told == [
        ("round 1: 1000 clients (client-0, client-1, client-2 and 997 more) trained", False),
        ("round 1: 4 clients (a, b, c and 1 more) lost: the client vanished", True),
    ]


@pytest.mark.parametrize(("reason", "level"), [("", "INFO"), ("what it kept was gone", "WARNING")])
def test_an_update_that_counts_with_a_reason_is_a_warning(
    caplog: pytest.LogCaptureFixture, reason: str, level: str
) -> None:
    # Given a client that trained, and has something to tell of it, or nothing
    slots = {"anna": Outcome(status=Status.TRAINED, reason=reason)}
    # When it is logged, then what there is to tell is a warning
    with caplog.at_level(logging.INFO):
        Log(ObserverContext(Path(), run_config(), "", Console())).observe(SlotsFilled(round_number=3, slots=slots))
    assert [record.levelname for record in caplog.records] == [level]


def test_what_a_client_says_is_a_line() -> None:
    # Given an answer whose reason has an escape sequence that clears the screen
    hostile = "\x1b[2Jgone\nround 1 closed"
    response = Response(order_id="o", client_id="anna", status=Status.FAILED, reason=hostile)
    # When it is told, then the sequence isn't passed on, and a line is a line
    [line] = lines_of(SlotsFilled(round_number=1, slots={"anna": Outcome.of(SlotRecord.of(response))}))
    assert "\x1b" not in line.text
    assert "\n" not in line.text
