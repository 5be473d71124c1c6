"""Showing a run: a live display on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.observers.events import (
    ClientJoined,
    ClientLeft,
    Ended,
    Event,
    Initialised,
    JoinedLive,
    LeftOut,
    Report,
    RoundClosed,
    RoundOpened,
    RunStarted,
    SlotFilled,
    Waiting,
)
from orchestrator.store.records import RoundRecord, shown_metrics
from tasks.messages import Metrics, Status

logger = logging.getLogger(__name__)

_SHOWN_CLIENTS = 12
_SHOWN_ROUNDS = 8
_NAMED = 3
_STYLES = {"trained": "green", "training": "yellow", "connected": "dim", "timed_out": "yellow"}


@contextmanager
def progress(console: Console) -> Iterator[Report]:
    """Show a run's events on ``console`` as they are reported: live on a terminal, as log lines elsewhere."""
    if not console.is_terminal:
        yield log_event
        return
    display = _Display()
    with Live(display, console=console, refresh_per_second=4) as live:

        def show(event: Event) -> None:
            log_event(event)
            display.take(event)
            live.refresh()

        yield show


def log_event(event: Event) -> None:
    """Log an event as a line."""
    line = describe(event)
    if line:
        logger.log(logging.INFO if _is_expected(event) else logging.WARNING, "%s", line)
    if isinstance(event, RoundClosed):
        for told in not_evaluated(event.record):
            logger.warning("%s", told)
        for client_id, response in event.record.responses.items():
            if response.status is Status.REJECTED:
                number = event.record.round_number
                logger.warning("round %d: the update of client %s is rejected: %s", number, client_id, response.reason)


def _is_expected(event: Event) -> bool:
    match event:
        case SlotFilled():
            return event.status is Status.TRAINED and not event.reason
        case RoundClosed():
            return not event.record.evaluation_problem
        case Initialised():
            return not event.problem
        case LeftOut():
            return False
    return True


def not_evaluated(record: RoundRecord) -> list[str]:
    """Return a line for each reason why clients didn't evaluate the model, with some of their names."""
    clients: dict[str, list[str]] = {}
    for client_id, reason in record.not_evaluated.items():
        clients.setdefault(reason, []).append(client_id)
    asked = record.num_evaluated + len(record.not_evaluated)
    return [
        f"{len(names)} of {asked} clients didn't evaluate the model ({listed(names)}): {reason}"
        for reason, names in clients.items()
    ]


def listed(names: Sequence[str]) -> str:
    """Return the first names, and the number of the others."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def describe(event: Event) -> str:  # noqa: C901  # a case an event
    """Return an event in words; empty if it isn't worth a line."""
    match event:
        case RunStarted():
            since = f", {event.rounds_closed} of them closed already" if event.rounds_closed else ""
            what = f"{event.algorithm} on {event.workload}"
            return f"run {event.run_id}: {what}, {event.rounds} rounds{since}, in {event.folder}"
        case Waiting():
            return _waiting(event)
        case ClientJoined():
            return f"client {event.client_id} joined with {event.num_examples} examples"
        case ClientLeft():
            return f"client {event.client_id} left"
        case Initialised():
            return f"the initial model: {describe_metrics(event.metrics, event.problem)}"
        case RoundOpened():
            return f"round {event.round_number} opened: {len(event.cohort)} clients train"
        case JoinedLive():
            return f"round {event.round_number}: client {event.client_id} joined it live"
        case SlotFilled():
            return f"round {event.round_number}: client {event.client_id} {event.status.value}" + (
                f": {event.reason}" if event.reason else ""
            )
        case RoundClosed():
            record = event.record
            what = record.reason
            if record.status == "closed":
                what = describe_metrics(record.metrics, record.evaluation_problem or _not_due(record))
            return f"round {record.round_number} {record.status}: {what}, {record.duration_s:.2f} s"
        case LeftOut():
            return _left_out(event)
        case Ended():
            return ""


def _left_out(event: LeftOut) -> str:
    cause = f": {event.reason}" if event.reason else ""
    return (
        f"client {event.client_id} was asked in {event.num_rounds} rounds in a row and nothing of its work is in the "
        f"model; the last time it was {event.status.value}{cause}"
    )


def _waiting(event: Waiting) -> str:
    return f"waiting for clients: {event.reason or f'{event.num_connected} of {event.num_needed} connected'}"


def _not_due(record: RoundRecord) -> str:
    return "" if record.evaluation_due else "not its turn (--evaluate-every)"


def describe_metrics(metrics: Metrics, problem: str = "") -> str:
    """Return metrics in words, and the problem that prevented an evaluation."""
    told = [f"{name} {value:.4f}" for name, value in metrics.items()]
    if problem:
        told.append(f"not evaluated: {problem}")
    return ", ".join(told) or "no held-out data to evaluate on"


class _Display:
    """The live display: the round, each client's state, and the metrics of the last rounds."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._title = ""
        self._rounds = 1
        self._closed = 0
        self._note = "starting"
        self._clients: dict[str, tuple[str, int, str]] = {}
        self._lines: list[tuple[str, Metrics, str, str]] = []

    def take(self, event: Event) -> None:  # noqa: C901  # a case an event
        """Update the display by an event."""
        match event:
            case RunStarted():
                self._title = f"{event.algorithm} on {event.workload} · run {event.run_id}"
                self._rounds, self._closed = event.rounds, event.rounds_closed
            case Waiting():
                self._note = _waiting(event)
            case ClientJoined():
                self._clients[event.client_id] = ("connected", event.num_examples, "")
            case ClientLeft():
                self._clients.pop(event.client_id, None)
            case Initialised():
                self._lines.append(("initial", event.metrics, "", event.problem))
            case RoundOpened():
                self._note = f"round {event.round_number} of {self._rounds}"
                for client_id in event.cohort:
                    self._state(client_id, "training", "")
            case JoinedLive():
                self._state(event.client_id, "training", "joined live")
            case SlotFilled():
                self._show_slot(event)
            case RoundClosed():
                self._close(event)
            case LeftOut():
                self._state(event.client_id, event.status.value, f"left out {event.num_rounds} times: {event.reason}")
            case Ended():
                self._note = event.summary.status

    def _show_slot(self, event: SlotFilled) -> None:
        loss = event.metrics.get("train_loss")
        trained = f"train loss {loss:.4f}" if loss is not None else ""
        self._state(event.client_id, event.status.value, event.reason or trained)

    def _close(self, event: RoundClosed) -> None:
        record = event.record
        self._closed = record.round_number
        for client_id, response in record.responses.items():
            if response.status is Status.REJECTED:
                self._state(client_id, response.status.value, response.reason)
        why = record.reason or record.evaluation_problem or _not_due(record)
        self._lines.append((str(record.round_number), record.metrics, f"{record.duration_s:.2f} s", why))
        if self._closed == self._rounds:
            self._note = "saying farewell"

    def _state(self, client_id: str, state: str, detail: str) -> None:
        _, num_examples, _ = self._clients.get(client_id, ("", 0, ""))
        self._clients[client_id] = (state, num_examples, detail)

    def __rich__(self) -> Group:
        """Draw."""
        elapsed = time.monotonic() - self._started
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=self._rounds, completed=self._closed, width=30),
            f"{self._closed}/{self._rounds} rounds",
            f"{elapsed:.0f} s",
            Text(self._note, style="cyan"),
        )
        return Group(Text(self._title, style="bold"), head, self._client_table(), self._round_table())

    def _client_table(self) -> Table:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        table.add_column("client")
        table.add_column("examples", justify="right")
        table.add_column("state")
        table.add_column("")
        for client_id, (state, num_examples, detail) in sorted(self._clients.items())[:_SHOWN_CLIENTS]:
            style = _STYLES.get(state, "red")
            table.add_row(client_id, str(num_examples), Text(state, style=style), Text(detail[:60], style="dim"))
        if len(self._clients) > _SHOWN_CLIENTS:
            table.add_row(f"… and {len(self._clients) - _SHOWN_CLIENTS} more", "", "", "")
        return table

    def _round_table(self) -> Table:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        table.add_column("round", justify="right")
        shown = shown_metrics(metrics for _, metrics, _, _ in self._lines)
        for key in shown:
            table.add_column(key, justify="right")
        table.add_column("time", justify="right")
        table.add_column("")
        for name, metrics, duration, why in self._lines[-_SHOWN_ROUNDS:]:
            values = [f"{metrics[key]:.4f}" if key in metrics else "-" for key in shown]
            table.add_row(name, *values, duration, Text(why[:60], style="red"))
        return table
