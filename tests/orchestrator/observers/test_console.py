from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.observers.console import _Display, describe, describe_metrics, log_event, not_evaluated, progress
from orchestrator.observers.events import (
    ClientJoined,
    ClientLeft,
    Ended,
    Event,
    Initialised,
    LeftOut,
    RoundClosed,
    RoundOpened,
    RunStarted,
    SlotFilled,
    Waiting,
)
from orchestrator.store.records import Final, Summary
from tasks.messages import Response, Status
from tests.support import round_record

STARTED = RunStarted("run", Path("/runs/run"), 10, 0, "digits", "fedavg")
SUMMARY = Summary(
    run_id="run",
    status="completed",
    rounds=2,
    final=Final(loss=0.5, accuracy=0.75),
    seed=0,
    workload="digits",
    algorithm="fedavg",
    checkpoint="checkpoints/round-0002.safetensors",
    wall_time_s=3.0,
)
ENDED = Ended(SUMMARY, Path("/runs/run"))
FAILED = round_record(4, status="failed", reason="0 updates", metrics={}, duration_s=0.125)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (STARTED, "run run: fedavg on digits, 10 rounds, in /runs/run"),
        (
            RunStarted("run", Path("/runs/run"), 10, 4, "digits", "fedavg"),
            "run run: fedavg on digits, 10 rounds, 4 of them closed already, in /runs/run",
        ),
        (Waiting(1, 3), "waiting for clients: 1 of 3 connected"),
        (Waiting(1, 2, "1 of 3 fit"), "waiting for clients: 1 of 3 fit"),
        (ClientJoined("anna", 70), "client anna joined with 70 examples"),
        (ClientLeft("anna"), "client anna left"),
        (Initialised({"loss": 2.30259, "accuracy": 0.1}), "the initial model: loss 2.3026, accuracy 0.1000"),
        (Initialised({}), "the initial model: no held-out data to evaluate on"),
        (Initialised({}, "the loss is nan"), "the initial model: not evaluated: the loss is nan"),
        (
            RoundClosed(round_record(3, metrics={}, evaluation_problem="evaluate(): no luck")),
            "round 3 closed: not evaluated: evaluate(): no luck, 1.50 s",
        ),
        (
            RoundClosed(round_record(3, metrics={}, evaluation_due=False)),
            "round 3 closed: not evaluated: not its turn (--evaluate-every), 1.50 s",
        ),
        (RoundClosed(round_record(3, metrics={})), "round 3 closed: no held-out data to evaluate on, 1.50 s"),
        (RoundOpened(3, ("anna", "bert")), "round 3 opened: 2 clients train"),
        (SlotFilled(3, "anna", Status.TRAINED, "", {"train_loss": 0.5}), "round 3: client anna trained"),
        (
            SlotFilled(3, "bert", Status.LOST, "the client vanished", {}),
            "round 3: client bert lost: the client vanished",
        ),
        (SlotFilled(3, "bert", Status.TIMED_OUT, "", {}), "round 3: client bert timed_out"),
        (RoundClosed(round_record(3)), "round 3 closed: loss 0.5000, accuracy 0.7500, 1.50 s"),
        (RoundClosed(FAILED), "round 4 failed: 0 updates, 0.12 s"),
        (
            LeftOut("bert", 5, Status.LOST, "the client vanished"),
            "client bert was asked in 5 rounds in a row and nothing of its work is in the model; the last time it was "
            "lost: the client vanished",
        ),
        (ENDED, ""),
    ],
)
def test_every_event_is_told_in_a_line(event: Event, line: str) -> None:
    # Given an event, when it is described, then it is this
    assert describe(event) == line


def test_metrics_are_told_to_four_digits() -> None:
    # Given metrics, when they are described, then they are in their own order
    assert describe_metrics({"b": 1.0, "a": 0.00005}) == "b 1.0000, a 0.0001"


def test_an_event_is_logged_if_there_is_anything_to_say(caplog: pytest.LogCaptureFixture) -> None:
    # Given a log
    caplog.set_level(logging.INFO)
    # When two events are logged, the second of which has no line
    log_event(ClientLeft("anna"))
    log_event(ENDED)
    # Then there is one
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", "client anna left")]


def shown(*events: Event) -> str:
    """What the live display shows after these events, on a console that is no terminal."""
    display = _Display()
    for event in events:
        display.take(event)
    console = Console(file=io.StringIO(), width=120)
    assert not console.is_terminal
    console.print(display)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line_with(text: str, output: str) -> list[str]:
    """The words of the one line that holds ``text``."""
    [line] = [line for line in output.splitlines() if text in line]
    return line.split()


def test_the_display_can_be_drawn_before_anything_happened() -> None:
    # Given no events, when it is drawn, then it says so
    assert "starting" in shown()


def test_the_display_shows_clients_rounds_and_what_is_under_way() -> None:
    # Given a run in its second round, with one client of three done, one failed and one at work
    output = shown(
        STARTED,
        Waiting(1, 3),
        *(ClientJoined(client_id, 70) for client_id in ("anna", "bert", "carl")),
        Initialised({"loss": 2.0, "accuracy": 0.125}),
        RoundOpened(1, ("anna", "bert", "carl")),
        RoundClosed(round_record(1)),
        RoundOpened(2, ("anna", "bert", "carl")),
        SlotFilled(2, "anna", Status.TRAINED, "", {"train_loss": 0.25}),
        SlotFilled(2, "bert", Status.FAILED, "RuntimeError: no luck", {}),
    )
    # When it is drawn, then all that is there
    assert "fedavg on digits · run run" in output
    assert "1/10 rounds" in output
    assert "round 2 of 10" in output
    assert line_with("anna", output) == ["anna", "70", "trained", "train", "loss", "0.2500"]
    assert line_with("bert", output) == ["bert", "70", "failed", "RuntimeError:", "no", "luck"]
    assert line_with("carl", output) == ["carl", "70", "training"]
    assert line_with("initial", output) == ["initial", "2.0000", "0.1250"]
    assert line_with("1.50 s", output) == ["1", "0.5000", "0.7500", "1.50", "s"]


def test_the_display_shows_a_failed_round_without_metrics_and_a_client_that_left_no_more() -> None:
    # Given a client that left, and a round that failed
    output = shown(STARTED, ClientJoined("anna", 70), ClientJoined("bert", 70), ClientLeft("bert"), RoundClosed(FAILED))
    # When it is drawn, then there are dashes, and the client isn't there
    assert line_with("0.12 s", output) == ["4", "-", "-", "0.12", "s", "0", "updates"]
    assert "anna" in output
    assert "bert" not in output


def test_the_display_has_no_column_for_an_accuracy_that_the_workload_doesnt_give() -> None:
    # Given a run with a loss alone, and one whose accuracy diverged in the last round
    loss: list[Event] = [Initialised({"loss": 2.0}), RoundClosed(round_record(1, metrics={"loss": 0.5}))]
    diverged: list[Event] = [Initialised({"loss": 2.0, "accuracy": 0.5}), *loss[1:]]
    # When they are drawn, then the one has no column for it, and the other a dash
    assert line_with("round ", shown(*loss)) == ["round", "loss", "time"]
    assert line_with("1.50 s", shown(*loss)) == ["1", "0.5000", "1.50", "s"]
    assert line_with("round ", shown(*diverged)) == ["round", "loss", "accuracy", "time"]
    assert line_with("1.50 s", shown(*diverged)) == ["1", "0.5000", "-", "1.50", "s"]


def test_the_display_shows_a_client_that_was_never_seen_to_join() -> None:
    # Given a slot of a client that is gone already, when it is drawn, then it has no examples
    output = shown(STARTED, SlotFilled(1, "anna", Status.LOST, "the client vanished", {}))
    assert line_with("anna", output) == ["anna", "0", "lost", "the", "client", "vanished"]


def test_the_display_stays_small_with_many_clients_and_rounds() -> None:
    # Given twenty clients and twenty rounds
    joined = [ClientJoined(f"client-{index:02d}", 5) for index in range(20)]
    closed = [RoundClosed(round_record(number, duration_s=float(number))) for number in range(1, 21)]
    output = shown(STARTED, *joined, *closed)
    # When it is drawn, then there are twelve clients and eight rounds
    assert sum("client-" in line for line in output.splitlines()) == 12
    assert "… and 8 more" in output
    assert [f"{number}.00 s" in output for number in (12, 13, 20)] == [False, True, True]


def test_the_display_says_how_the_run_ends() -> None:
    # Given a run whose last round is closed, when it is drawn before and after the end, then it says what goes on
    last = RoundClosed(round_record(10))
    assert "saying farewell" in shown(STARTED, last)
    assert "completed" in shown(STARTED, last, ENDED)


def test_what_a_client_says_is_no_markup() -> None:
    # Given a reason in square brackets, when it is drawn, then it is there as it was said
    output = shown(STARTED, SlotFilled(1, "anna", Status.FAILED, "[red]alarm[/red] [/]", {}))
    assert "[red]alarm[/red] [/]" in output


def test_what_a_client_says_doesnt_command_the_terminal() -> None:
    # Given an answer whose reason has an escape sequence that clears the screen
    hostile = "\x1b[2Jgone\nround 1 closed"
    response = Response(order_id="o", client_id="anna", status=Status.FAILED, reason=hostile)
    event = SlotFilled(1, "anna", response.status, response.reason, {})
    # When it is drawn and logged, then the sequence isn't passed on, and a line is a line
    assert "\x1b" not in shown(STARTED, event)
    assert "\x1b" not in describe(event)
    assert "\n" not in describe(event)


def test_elsewhere_than_on_a_terminal_events_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    # Given a console that is a file
    caplog.set_level(logging.INFO)
    console = Console(file=io.StringIO())
    # When an event is reported, then it is in the log and not on the console
    with progress(console) as report:
        report(ClientLeft("anna"))
    assert caplog.messages == ["client anna left"]
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""


def test_on_a_terminal_events_are_drawn_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    # Given a console that says it is a terminal
    caplog.set_level(logging.INFO)
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    # When events are reported
    with progress(console) as report:
        report(STARTED)
        report(ClientJoined("anna", 70))
    # Then the display is drawn, and the log has them too
    assert isinstance(console.file, io.StringIO)
    assert "anna" in console.file.getvalue()
    assert caplog.messages[-1] == "client anna joined with 70 examples"


def test_of_many_clients_three_are_named() -> None:
    # Given five clients of which four gave no evaluation, all for one reason
    record = round_record(1, num_evaluated=1, not_evaluated=dict.fromkeys("abcd", "no luck"))
    # When it is told, then in a line
    assert not_evaluated(record) == ["4 of 5 clients didn't evaluate the model (a, b, c and 1 more): no luck"]


@pytest.mark.parametrize(("reason", "level"), [("", "INFO"), ("what it kept was gone", "WARNING")])
def test_an_update_that_counts_with_a_reason_is_a_warning(
    caplog: pytest.LogCaptureFixture, reason: str, level: str
) -> None:
    # Given a client that trained, and has something to tell of it, or nothing
    event = SlotFilled(3, "anna", Status.TRAINED, reason, {})
    # When it is logged, then what there is to tell is a warning
    with caplog.at_level(logging.INFO):
        log_event(event)
    assert [record.levelname for record in caplog.records] == [level]
