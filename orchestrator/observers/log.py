"""A run in words: each event as a line of the log, or a few."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from orchestrator.clients.naming import by_what, client_field, named
from orchestrator.observers import ObserverContext
from orchestrator.observers.events import (
    ClientsEvaluated,
    ClientsJoined,
    ClientsLeft,
    CrossSiteEvaluated,
    EvaluationSlow,
    Event,
    Initialised,
    JoinedLive,
    LeftOut,
    ModelEvaluated,
    Outcome,
    ResponsesLate,
    RoundClosed,
    RoundOpened,
    RunStarted,
    SlotsFilled,
    StoppedEarly,
    UpdatesJudged,
    Waiting,
)
from tasks.described import counted, first_of
from tasks.messages import Status
from tasks.metrics import Metrics, in_words

logger = logging.getLogger(__name__)


class Line(NamedTuple):
    """A line of the log.

    Attributes:
        text: What it says.
        client_ids: Whom it tells of.
        is_warning: Whether it tells of something that isn't as it should be.
    """

    text: str
    client_ids: Collection[str] = ()
    is_warning: bool = False


class Log:
    """Logs what happens."""

    def __init__(self, _context: ObserverContext) -> None:
        """It needs nothing."""

    def observe(self, event: Event) -> None:
        """Log an event."""
        for line in lines_of(event):
            level = logging.WARNING if line.is_warning else logging.INFO
            fields = event.model_dump(include={"round_number"}) | client_field(line.client_ids)
            logger.log(level, "%s", line.text, extra=fields)

    def close(self) -> None:
        """Nothing is kept."""


def lines_of(event: Event) -> Iterator[Line]:  # noqa: C901  # a case an event
    """Yield an event in words."""
    match event:
        case RunStarted():
            yield Line(_started(event))
        case Waiting():
            yield Line(waiting(event))
        case ClientsJoined(clients=clients):
            yield Line(f"{named(clients)} joined with {sum(clients.values())} examples", clients)
        case ClientsLeft(client_ids=left):
            yield Line(f"{named(left)} left", left)
        case Initialised():
            yield Line(f"the initial model: {evaluated(event.metrics, event.problem)}", is_warning=bool(event.problem))
        case RoundOpened(round_number=number):
            yield Line(f"round {number} opened: {counted(len(event.cohort), 'client')} to train")
        case JoinedLive(round_number=number, client_ids=joined):
            yield Line(f"round {number}: {named(joined)} joined it live", joined)
        case SlotsFilled(round_number=number):
            for (status, reason), alike in _outcomes(event.slots):
                is_warning = status is not Status.TRAINED or bool(reason)
                yield Line(f"round {number}: {named(alike)} {_filled(status, reason)}", alike, is_warning)
        case UpdatesJudged(round_number=number):
            for reason, alike in by_what(event.rejected):
                yield _warning(f"round {number}: the update of {named(alike)} is rejected: {reason}", alike)
        case ResponsesLate(round_number=number):
            late = sorted(set(event.orders.values()))
            yield _warning(f"round {number}: answers of {named(late)} came late, and count for nothing", late)
        case ClientsEvaluated(round_number=number):
            told = in_words(event.metrics, event.partial, event.num_evaluated, event.spread)
            if told:
                yield Line(f"round {number}: on the data of {counted(event.num_evaluated, 'client')}: {told}")
            asked = event.num_evaluated + len(event.not_evaluated)
            for reason, alike in by_what(event.not_evaluated):
                told = f"{len(alike)} of {asked} clients ({first_of(alike)}) didn't evaluate the model: {reason}"
                yield _warning(told, alike)
        case CrossSiteEvaluated():
            yield Line(f"{event.num_clients} clients have evaluated {event.num_models} models: see cross-site.json")
        case RoundClosed(round_number=number):
            why = f": {event.reason}" if event.reason else ""
            training = in_words(event.train_metrics, event.train_partial, event.num_accepted)
            took = ", ".join(filter(None, (f"{event.duration_s:.2f} s", training)))
            yield Line(f"round {number} {event.status}{why}, {took}")
        case ModelEvaluated(round_number=number):
            yield Line(f"round {number}: {evaluated(event.metrics, event.problem)}", is_warning=bool(event.problem))
        case StoppedEarly(round_number=number):
            yield Line(f"the run ends with round {number}: {event.reason}")
        case EvaluationSlow():
            yield _warning(_slow(event))
        case LeftOut():
            for (status, reason), alike in _outcomes(event.slots):
                yield _warning(_left_out(named(alike), event.num_rounds, _filled(status, reason)), alike)


def _warning(text: str, client_ids: Collection[str] = ()) -> Line:
    return Line(text, client_ids, is_warning=True)


def waiting(event: Waiting) -> str:
    """Return which clients a run waits for."""
    return f"waiting for clients: {event.reason or f'{event.num_connected} of {event.num_needed} connected'}"


def evaluated(metrics: Metrics, problem: str = "") -> str:
    """Return metrics in words, and the problem that prevented an evaluation or a part of it."""
    if not metrics:
        return f"not evaluated: {problem}" if problem else "no held-out data to evaluate on"
    return ", ".join(filter(None, (in_words(metrics), problem)))


def _started(event: RunStarted) -> str:
    since = f", {event.rounds_closed} of them closed already" if event.rounds_closed else ""
    what = f"{event.algorithm} on {event.workload}"
    return f"run {event.run_id}: {what}, {counted(event.rounds, 'round')}{since}, in {event.folder}"


def _slow(event: EvaluationSlow) -> str:
    return (
        f"evaluating a model on held-out data takes longer than a round: {event.num_waiting} models wait for it; "
        "--evaluate-every N evaluates every N rounds, --evaluate-share F on a share of the examples"
    )


def _left_out(clients: str, num_rounds: int, last: str) -> str:
    return f"{clients}: asked in {num_rounds} rounds in a row, no update was accepted; the last time {last}"


def _filled(status: Status, reason: str) -> str:
    return f"{status.value}: {reason}" if reason else status.value


def _outcomes(slots: Mapping[str, Outcome]) -> Iterable[tuple[tuple[Status, str], list[str]]]:
    return by_what({client_id: (slot.status, slot.reason) for client_id, slot in slots.items()})
