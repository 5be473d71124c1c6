"""A run in words: each event as a line of the log, or a few."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from orchestrator.clients.naming import named
from orchestrator.observers import ObserverContext
from orchestrator.observers.events import (
    ClientsEvaluated,
    ClientsJoined,
    ClientsLeft,
    EvaluationSlow,
    Event,
    Initialised,
    JoinedLive,
    LeftOut,
    ModelEvaluated,
    Outcome,
    RoundClosed,
    RoundOpened,
    RunStarted,
    SlotsFilled,
    UpdatesJudged,
    Waiting,
)
from tasks.messages import Metrics, Status

logger = logging.getLogger(__name__)


class Line(NamedTuple):
    """A line of the log.

    Attributes:
        text: What it says.
        is_warning: Whether it tells of something that isn't as it should be.
        client_ids: Whom it tells of.
    """

    text: str
    is_warning: bool = False
    client_ids: Collection[str] = ()


_warning = partial(Line, is_warning=True)


class Log:
    """Logs what happens."""

    def __init__(self, _context: ObserverContext) -> None:
        """It needs nothing."""

    def observe(self, event: Event) -> None:
        """Log an event."""
        for line in lines_of(event):
            level = logging.WARNING if line.is_warning else logging.INFO
            logger.log(level, "%s", line.text, extra=_fields(event, line.client_ids))

    def close(self) -> None:
        """Nothing is kept."""


def lines_of(event: Event) -> Iterator[Line]:  # noqa: C901  # a case an event
    """Yield an event in words; nothing of what other events have told."""
    match event:
        case RunStarted():
            yield Line(_started(event))
        case Waiting():
            yield Line(waiting(event))
        case ClientsJoined(clients=clients):
            yield Line(f"{named(clients)} joined with {sum(clients.values())} examples", client_ids=clients)
        case ClientsLeft(client_ids=client_ids):
            yield Line(f"{named(client_ids)} left", client_ids=client_ids)
        case Initialised():
            yield Line(f"the initial model: {in_words(event.metrics, event.problem)}", bool(event.problem))
        case RoundOpened():
            yield Line(f"round {event.round_number} opened: {len(event.cohort)} clients train")
        case JoinedLive():
            yield Line(
                f"round {event.round_number}: {named(event.client_ids)} joined it live", client_ids=event.client_ids
            )
        case SlotsFilled():
            for (status, reason), alike in _alike(event.slots).items():
                is_warning = status is not Status.TRAINED or bool(reason)
                yield Line(f"round {event.round_number}: {named(alike)} {_filled(status, reason)}", is_warning, alike)
        case UpdatesJudged():
            for reason, alike in _by_reason(event.rejected).items():
                yield _warning(
                    f"round {event.round_number}: the update of {named(alike)} is rejected: {reason}", client_ids=alike
                )
        case ClientsEvaluated():
            asked = event.num_evaluated + len(event.not_evaluated)
            for reason, alike in _by_reason(event.not_evaluated).items():
                yield _warning(
                    f"of {asked} clients {named(alike)} didn't evaluate the model: {reason}", client_ids=alike
                )
        case RoundClosed():
            why = f": {event.reason}" if event.reason else ""
            yield Line(f"round {event.round_number} {event.status}{why}, {event.duration_s:.2f} s")
        case ModelEvaluated():
            yield Line(f"round {event.round_number}: {in_words(event.metrics, event.problem)}", bool(event.problem))
        case EvaluationSlow():
            yield _warning(_slow(event))
        case LeftOut():
            for (status, reason), alike in _alike(event.slots).items():
                yield _warning(_left_out(named(alike), event.num_rounds, _filled(status, reason)), client_ids=alike)


def _fields(event: Event, client_ids: Collection[str]) -> dict[str, object]:
    """Return what a log as JSON says beside the text: the round, and the client if it is one."""
    fields: dict[str, object] = event.model_dump(include={"round_number"})
    if len(client_ids) == 1:
        (fields["client_id"],) = client_ids
    return fields


def waiting(event: Waiting) -> str:
    """Return which clients a run waits for."""
    return f"waiting for clients: {event.reason or f'{event.num_connected} of {event.num_needed} connected'}"


def in_words(metrics: Metrics, problem: str = "") -> str:
    """Return metrics in words, and the problem that prevented an evaluation."""
    told = [f"{name} {value:.4f}" for name, value in metrics.items()]
    if problem:
        told.append(f"not evaluated: {problem}")
    return ", ".join(told) or "no held-out data to evaluate on"


def _started(event: RunStarted) -> str:
    since = f", {event.rounds_closed} of them closed already" if event.rounds_closed else ""
    what = f"{event.algorithm} on {event.workload}"
    return f"run {event.run_id}: {what}, {event.rounds} rounds{since}, in {event.folder}"


def _slow(event: EvaluationSlow) -> str:
    return (
        f"evaluating a model on held-out data takes longer than a round: {event.num_waiting} models wait for it; "
        "--evaluate-every N evaluates every N rounds, --evaluate-share F on a share of the examples"
    )


def _left_out(clients: str, num_rounds: int, last: str) -> str:
    return f"{clients}: asked in {num_rounds} rounds in a row, no update was accepted; the last time {last}"


def _filled(status: Status, reason: str) -> str:
    return f"{status.value}: {reason}" if reason else status.value


def _alike(slots: Mapping[str, Outcome]) -> dict[tuple[Status, str], list[str]]:
    """Return whose slots were filled in the same way, for the same reason."""
    client_ids: dict[tuple[Status, str], list[str]] = {}
    for client_id, slot in slots.items():
        client_ids.setdefault((slot.status, slot.reason), []).append(client_id)
    return client_ids


def _by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    client_ids: dict[str, list[str]] = {}
    for client_id, reason in reasons.items():
        client_ids.setdefault(reason, []).append(client_id)
    return client_ids
