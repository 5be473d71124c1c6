"""Showing a run: a live display on a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.observers import ObserverContext
from orchestrator.observers.durations import duration
from orchestrator.observers.events import (
    ClientsJoined,
    ClientsLeft,
    Event,
    Initialised,
    JoinedLive,
    LeftOut,
    ModelEvaluated,
    Outcome,
    RoundClosed,
    RoundOpened,
    RunEnded,
    RunStarted,
    SlotsFilled,
    StoppedEarly,
    UpdatesJudged,
    Waiting,
)
from orchestrator.observers.log import waiting
from orchestrator.store.records import shown_metrics
from tasks.messages import Status
from tasks.metrics import Metrics, digits

_SHOWN_CLIENTS = 12
_SHOWN_ROUNDS = 8
_SHOWN_METRICS = 5
_MINUTE = 60
_STYLES = {"trained": "green", "training": "yellow", "connected": "dim", "timed_out": "yellow"}
"""Colours of clients' states; all others are of trouble, and red."""


class ConsoleDisplay:
    """Shows a run live, if standard error is a terminal; elsewhere the log is all that is shown."""

    def __init__(self, context: ObserverContext) -> None:
        self.drawn = Drawn()
        self._live = Live(self.drawn, console=context.console, refresh_per_second=4)
        if context.console.is_terminal:
            self._live.start(refresh=True)

    def observe(self, event: Event) -> None:
        """Show an event."""
        self.drawn.take(event)
        if self._live.is_started:
            self._live.refresh()

    def close(self) -> None:
        """Leave the last state on the terminal."""
        self._live.stop()


@dataclass(frozen=True, slots=True)
class _Line:
    """What the display says of a round, or of the initial model."""

    metrics: Metrics = field(default_factory=dict)
    train_metrics: Metrics = field(default_factory=dict)
    duration: str = ""
    why: str = ""


class Drawn:
    """The live display: the round, each client's state, and the metrics of the last rounds.

    Args:
        clock: Seconds that only go up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._first: tuple[int, float] | None = None
        """Rounds that were closed when the first was opened since then, and when that was."""
        self._title = ""
        self._rounds = 1
        self._closed = 0
        self._note = "starting"
        self._clients: dict[str, tuple[str, int, str]] = {}
        self._lines: dict[str, _Line] = {}

    def take(self, event: Event) -> None:  # noqa: C901  # a case an event
        """Update the display by an event."""
        match event:
            case RunStarted():
                self._title = f"{event.algorithm} on {event.workload} · run {event.run_id}"
                self._rounds, self._closed = event.rounds, event.rounds_closed
            case Waiting():
                self._note = waiting(event)
            case ClientsJoined():
                self._clients.update({name: ("connected", number, "") for name, number in event.clients.items()})
            case ClientsLeft():
                for client_id in event.client_ids:
                    self._clients.pop(client_id, None)
            case Initialised():
                self._lines["initial"] = _Line(event.metrics, why=event.problem)
            case RoundOpened():
                self._note = f"round {event.round_number} of {self._rounds}"
                self._first = self._first or (self._closed, self._clock())
                for client_id in event.cohort:
                    self._state(client_id, "training", "")
            case JoinedLive():
                for client_id in event.client_ids:
                    self._state(client_id, "training", "joined live")
            case SlotsFilled():
                for client_id, slot in event.slots.items():
                    self._state(client_id, slot.status.value, _detail(slot))
            case UpdatesJudged():
                for client_id, reason in event.rejected.items():
                    self._state(client_id, Status.REJECTED.value, reason)
            case RoundClosed():
                self._close(event)
            case ModelEvaluated():
                name = str(event.round_number)
                line = self._lines.get(name, _Line())
                self._lines[name] = replace(line, metrics=event.metrics, why=event.problem)
            case StoppedEarly():
                self._note = event.reason
            case LeftOut():
                for client_id, slot in event.slots.items():
                    self._state(client_id, slot.status.value, f"left out {event.num_rounds} times: {slot.reason}")
            case RunEnded():
                self._note = event.summary.status

    def _close(self, event: RoundClosed) -> None:
        self._closed = event.round_number
        took = f"{event.duration_s:.2f} s"
        name = str(event.round_number)
        evaluated = self._lines.get(name, _Line())
        self._lines[name] = _Line(evaluated.metrics, event.train_metrics, took, event.reason or evaluated.why)
        if self._closed == self._rounds:
            self._note = "saying farewell"

    def _state(self, client_id: str, state: str, detail: str) -> None:
        _, num_examples, _ = self._clients.get(client_id, ("", 0, ""))
        self._clients[client_id] = (state, num_examples, detail)

    def __rich__(self) -> Group:
        """Draw."""
        now = self._clock()
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=self._rounds, completed=self._closed, width=16),
            f"{self._closed}/{self._rounds} rounds",
            _whole(now - self._started),
            self._time_left(now),
        )
        note = Text(self._note, style="cyan")
        return Group(Text(self._title, style="bold"), head, note, *self._client_lines(), self._round_table())

    def _time_left(self, now: float) -> str:
        """Return about how long the run goes on, by its pace since it was begun or taken up."""
        closed, since = self._first or (self._closed, now)
        if self._closed in (closed, self._rounds):
            return ""
        left_s = (self._rounds - self._closed) * (now - since) / (self._closed - closed)
        return f"about {_whole(left_s)} left"

    def _client_lines(self) -> Iterator[RenderableType]:
        """Yield a line a client, those in trouble first, and how many of each state have none."""
        table = _table()
        table.add_column("client", no_wrap=True)
        table.add_column("examples", justify="right", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("")
        clients = sorted(self._clients.items(), key=lambda client: (client[1][0] in _STYLES, client[0]))
        for client_id, (state, num_examples, detail) in clients[:_SHOWN_CLIENTS]:
            style = _STYLES.get(state, "red")
            table.add_row(client_id, str(num_examples), Text(state, style=style), _cut(detail, "dim"))
        yield table
        if others := Counter(state for _, (state, _, _) in clients[_SHOWN_CLIENTS:]):
            counts = ", ".join(f"{number} {state}" for state, number in others.most_common())
            yield Text(f"and {others.total()} more: {counts}", style="dim")

    def _round_table(self) -> Table:
        table = _table()
        table.add_column("round", justify="right", no_wrap=True)
        evaluated = shown_metrics(line.metrics for line in self._lines.values())[:_SHOWN_METRICS]
        trained = list(dict.fromkeys(name for line in self._lines.values() for name in line.train_metrics))
        trained = trained[: _SHOWN_METRICS - len(evaluated) + 1]
        for name in (*evaluated, *(_of_training(name) for name in trained)):
            table.add_column(Text(name), justify="right", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("")
        for name, line in list(self._lines.items())[-_SHOWN_ROUNDS:]:
            values = [*_values(line.metrics, evaluated), *_values(line.train_metrics, trained)]
            table.add_row(name, *values, line.duration, _cut(line.why, "red"))
        return table


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim")


def _cut(text: str, style: str) -> Text:
    """Return what is said as one line, cut to what is left beside the other columns."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _whole(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < _MINUTE else duration(seconds)


def _of_training(name: str) -> str:
    """Return the head of a column of training metrics, told from those of evaluations."""
    return name.replace("_", " ") if name.startswith("train") else f"train {name}"


def _values(metrics: Metrics, names: Sequence[str]) -> list[str]:
    return [digits(metrics[name]) if name in metrics else "-" for name in names]


def _detail(slot: Outcome) -> str:
    """Return why a slot was filled as it was, or the client's train loss."""
    loss = slot.metrics.get("train_loss")
    return slot.reason or (f"train loss {digits(loss)}" if loss is not None else "")
