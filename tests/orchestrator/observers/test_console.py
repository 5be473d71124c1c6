from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from orchestrator.observers import ObserverContext
from orchestrator.observers.console import ConsoleDisplay, Drawn
from orchestrator.observers.events import (
    ClientsJoined,
    ClientsLeft,
    Event,
    Initialised,
    JoinedLive,
    LeftOut,
    ModelEvaluated,
    Outcome,
    RoundOpened,
    SlotsFilled,
    UpdatesJudged,
    Waiting,
)
from orchestrator.store.records import SlotRecord
from tasks.messages import Response, Status
from tasks.metrics import Metrics
from tests.orchestrator.observers.telling import ENDED, FAILED, STARTED, closed
from tests.support import run_config


def filled(client_id: str, status: Status, reason: str, metrics: Metrics, round_number: int) -> SlotsFilled:
    """The end of a client's slot."""
    slots = {client_id: Outcome(status=status, reason=reason, metrics=metrics)}
    return SlotsFilled(round_number=round_number, slots=slots)


def shown(*events: Event, width: int = 120, seconds: float = 0.0) -> str:
    """What the live display shows after these events, each so many seconds after the one before."""
    told: list[Event] = []
    display = Drawn(lambda: len(told) * seconds)
    for event in events:
        told.append(event)
        display.take(event)
    console = Console(file=io.StringIO(), width=width)
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
        Waiting(num_connected=1, num_needed=3),
        ClientsJoined(clients=dict.fromkeys(("anna", "bert", "carl"), 70)),
        Initialised(metrics={"loss": 2.0, "accuracy": 0.125}),
        RoundOpened(round_number=1, cohort=("anna", "bert", "carl")),
        closed(1, train_metrics={"train_loss": 0.125}),
        ModelEvaluated(round_number=1, metrics={"loss": 0.5, "accuracy": 0.75}),
        RoundOpened(round_number=2, cohort=("anna", "bert", "carl")),
        filled("anna", Status.TRAINED, "", {"train_loss": 0.25}, 2),
        filled("bert", Status.FAILED, "RuntimeError: no luck", {}, 2),
    )
    # When it is drawn, then all that is there
    assert "fedavg on digits · run run" in output
    assert "1/10 rounds" in output
    assert "round 2 of 10" in output
    assert line_with("anna", output) == ["anna", "70", "trained", "train", "loss", "0.2500"]
    assert line_with("bert", output) == ["bert", "70", "failed", "RuntimeError:", "no", "luck"]
    assert line_with("carl", output) == ["carl", "70", "training"]
    assert line_with("initial", output) == ["initial", "2.0000", "0.1250", "-"]
    assert line_with("1.50 s", output) == ["1", "0.5000", "0.7500", "0.1250", "1.50", "s"]


def test_the_display_has_room_for_five_metrics_and_one_of_training() -> None:
    # Given an evaluation with seven metrics, and training with two
    many = {f"m{number}": float(number) for number in range(7)}
    trained = {"accuracy": 0.5, "train_loss": 0.25}
    output = shown(STARTED, closed(1, train_metrics=trained), ModelEvaluated(round_number=1, metrics=many))
    # When it is drawn, then the first ones are there
    assert line_with("round ", output) == ["round", "m0", "m1", "m2", "m3", "m4", "train", "accuracy", "time"]


def test_the_display_shows_a_failed_round_without_metrics_and_a_client_that_left_no_more() -> None:
    # Given a client that left, and a round that failed
    output = shown(STARTED, ClientsJoined(clients={"anna": 70, "bert": 70}), ClientsLeft(client_ids=("bert",)), FAILED)
    # When it is drawn, then there are dashes, and the client isn't there
    assert line_with("0.12 s", output) == ["4", "-", "0.12", "s", "0", "updates"]
    assert "anna" in output
    assert "bert" not in output


def test_the_display_has_no_column_for_an_accuracy_that_the_workload_doesnt_give() -> None:
    # Given a run with a loss alone, and one whose accuracy diverged in the last round
    evaluated = ModelEvaluated(round_number=1, metrics={"loss": 0.5})
    loss: list[Event] = [Initialised(metrics={"loss": 2.0}), closed(1), evaluated]
    diverged: list[Event] = [Initialised(metrics={"loss": 2.0, "accuracy": 0.5}), *loss[1:]]
    # When they are drawn, then the one has no column for it, and the other a dash
    assert line_with("round ", shown(*loss)) == ["round", "loss", "time"]
    assert line_with("1.50 s", shown(*loss)) == ["1", "0.5000", "1.50", "s"]
    assert line_with("round ", shown(*diverged)) == ["round", "loss", "accuracy", "time"]
    assert line_with("1.50 s", shown(*diverged)) == ["1", "0.5000", "-", "1.50", "s"]


def test_the_display_shows_a_client_that_was_never_seen_to_join() -> None:
    # Given a slot of a client that is gone already, when it is drawn, then it has no examples
    output = shown(STARTED, filled("anna", Status.LOST, "the client vanished", {}, 1))
    assert line_with("anna", output) == ["anna", "0", "lost", "the", "client", "vanished"]


def test_the_display_stays_small_with_many_clients_and_rounds() -> None:
    # Given twenty clients and twenty rounds
    joined = ClientsJoined(clients={f"client-{index:02d}": 5 for index in range(20)})
    rounds = [closed(number, duration_s=float(number)) for number in range(1, 21)]
    output = shown(STARTED, joined, *rounds)
    # When it is drawn, then there are twelve clients and eight rounds
    assert sum("client-" in line for line in output.splitlines()) == 12
    assert "and 8 more: 8 connected" in output
    assert [f"{number}.00 s" in output for number in (12, 13, 20)] == [False, True, True]


def test_clients_in_trouble_come_first_and_the_others_are_counted() -> None:
    # Given thirty clients at work, of which one has trained, and the last two are in trouble
    ids = [f"client-{index:02d}" for index in range(30)]
    output = shown(
        STARTED,
        RoundOpened(round_number=1, cohort=tuple(ids)),
        filled("client-00", Status.TRAINED, "", {}, 1),
        filled("client-29", Status.LOST, "the client vanished", {}, 1),
        filled("client-28", Status.TIMED_OUT, "", {}, 1),
        filled("client-27", Status.FAILED, "no luck", {}, 1),
    )
    # When it is drawn, then those that need a look are on top
    listed = [line.split()[0] for line in output.splitlines() if line.startswith("client-")]
    assert listed[:3] == ["client-27", "client-29", "client-00"]
    # And those for which there is no line are counted
    assert "and 18 more: 17 training, 1 timed_out" in output


def test_each_client_has_one_line_on_a_narrow_terminal() -> None:
    # Given a long reason, when it is drawn on 60 columns, then it is cut, and all else is whole
    reason = "ValueError: expected 10 labels, got 12; the log of its worker has the traceback"
    told = (STARTED, ClientsJoined(clients={"hospital-a": 713}), filled("hospital-a", Status.FAILED, reason, {}, 1))
    output = shown(*told, closed(1), FAILED, width=60)
    assert max(map(len, output.splitlines())) <= 60
    assert line_with("hospital-a", output)[:5] == ["hospital-a", "713", "failed", "ValueError:", "expected"]
    assert "traceback" not in output
    assert "traceback" in shown(*told, width=120)


def test_the_display_says_about_how_long_a_run_goes_on() -> None:
    # Given rounds that take a minute each, of a run of ten
    opened = RoundOpened(round_number=1, cohort=("anna",))
    first: list[Event] = [STARTED, opened, closed(1)]
    # When none is closed, or all are, then nobody says how long it takes
    assert " left" not in shown(STARTED, opened, seconds=60)
    assert " left" not in shown(*first, closed(10), seconds=60)
    # And after the first, the other nine are told
    assert "3 min 00 s  about 9 min 00 s left" in shown(*first, seconds=60)
    assert "about 45 s left" in shown(*first, seconds=5)


def test_the_display_says_how_the_run_ends() -> None:
    # Given a run whose last round is closed, when it is drawn before and after the end, then it says what goes on
    last = closed(10)
    assert "saying farewell" in shown(STARTED, last)
    assert "completed" in shown(STARTED, last, ENDED)


def test_what_a_client_says_is_no_markup() -> None:
    # Given a reason in square brackets, when it is drawn, then it is there as it was said
    output = shown(STARTED, filled("anna", Status.FAILED, "[red]alarm[/red] [/]", {}, 1))
    assert "[red]alarm[/red] [/]" in output


def test_a_metric_of_a_clients_training_is_no_markup() -> None:
    # Given metrics with brackets in their names, when they are drawn, then the names are as they were said
    metrics = {"loss[bold]": 0.5, "x[/bold]": 0.25}
    output = shown(STARTED, closed(1, train_metrics=metrics))
    assert "train loss[bold] " in output
    assert "train x[/bold] " in output


def test_what_a_client_says_doesnt_command_the_terminal() -> None:
    # Given an answer whose reason has an escape sequence that clears the screen
    hostile = "\x1b[2Jgone\nround 1 closed"
    response = Response(order_id="o", client_id="anna", status=Status.FAILED, reason=hostile)
    # When it is drawn, then the sequence isn't passed on
    assert "\x1b" not in shown(
        STARTED, SlotsFilled(round_number=1, slots={"anna": Outcome.of(SlotRecord.of(response))})
    )


def test_the_display_shows_who_joined_live_was_rejected_or_is_left_out() -> None:
    # Given a client of each kind
    lost = Outcome(status=Status.LOST, reason="it vanished")
    output = shown(
        STARTED,
        JoinedLive(round_number=1, client_ids=("dora",)),
        UpdatesJudged(round_number=1, accepted=(), rejected={"bert": "too long"}, scores={}),
        LeftOut(round_number=5, num_rounds=5, slots={"carl": lost}),
    )
    # When it is drawn, then it says so of each
    assert line_with("dora", output) == ["dora", "0", "training", "joined", "live"]
    assert line_with("bert", output) == ["bert", "0", "rejected", "too", "long"]
    assert line_with("carl", output) == ["carl", "0", "lost", "left", "out", "5", "times:", "it", "vanished"]


def drawn_on(console: Console) -> str:
    """What is on a console when a run's beginning was told and the display is closed."""
    display = ConsoleDisplay(ObserverContext(Path(), run_config(), "", console))
    display.observe(STARTED)
    display.observe(ClientsJoined(clients={"anna": 70}))
    display.close()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_on_a_terminal_events_are_drawn() -> None:
    # Given a console that says it is a terminal, when events are told, then they are drawn
    assert "anna" in drawn_on(Console(file=io.StringIO(), force_terminal=True, width=100))


def test_elsewhere_than_on_a_terminal_nothing_is_drawn() -> None:
    # Given a console that is a file, when events are told, then it stays empty
    assert drawn_on(Console(file=io.StringIO())) == ""
