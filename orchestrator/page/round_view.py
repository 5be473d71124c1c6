"""A round as its events tell it: what became of each client's order, and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.observers.events import (
    ClientsEvaluated,
    Event,
    JobDone,
    JoinedLive,
    ModelEvaluated,
    OrdersTaken,
    Outcome,
    ResponsesLate,
    RoundClosed,
    RoundOpened,
    SlotsFilled,
    UpdatesJudged,
)
from tasks.messages import Status


class SlotState(StrEnum):
    """How a client's order stands; in the order in which a reader wants to see them."""

    REJECTED = "rejected"
    FAILED = "failed"
    LOST = "lost"
    TIMED_OUT = "timed out"
    UNANSWERED = "unanswered"
    TRAINING = "training"
    WAITING = "waiting"
    SENT = "sent"
    ACCEPTED = "accepted"


_FILLED = {
    Status.TRAINED: SlotState.SENT,
    Status.TIMED_OUT: SlotState.TIMED_OUT,
    Status.REJECTED: SlotState.REJECTED,
    Status.LOST: SlotState.LOST,
}


@dataclass(slots=True)
class Slot:
    """What is known of a client's order.

    Attributes:
        state: How it stands.
        outcome: What came of it; None as long as nothing has.
        reason: Why it stands so, in words.
        asked_at: When the order went out, in seconds since 1970.
        arrived_at: When the orchestrator told what came of it; None as long as nothing has.
        scores: The update's score by scorer.
        is_late: Whether an answer came when it counted no more.
    """

    asked_at: float
    state: SlotState = SlotState.WAITING
    outcome: Outcome | None = None
    reason: str = ""
    arrived_at: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    is_late: bool = False

    @property
    def is_cut_short(self) -> bool:
        """Whether what is judged is what was done by the timeout."""
        is_timed_out = self.outcome is not None and self.outcome.status is Status.TIMED_OUT
        return is_timed_out and self.state is not SlotState.TIMED_OUT


@dataclass(frozen=True, slots=True)
class OwnJob:
    """A task of the orchestrator's own workers, and when it ran, in seconds since 1970."""

    name: str
    began_at: float
    ended_at: float


class RoundView:
    """A round, open or closed.

    Args:
        opened: Its opening.
    """

    def __init__(self, opened: RoundOpened) -> None:
        self.number = opened.round_number
        self.opened_at = seconds_of(opened.time)
        self.slots = {client_id: Slot(self.opened_at) for client_id in opened.cohort}
        self.jobs: list[OwnJob] = []
        self.closed: RoundClosed | None = None
        self.closed_at: float | None = None
        self.evaluated: ModelEvaluated | None = None
        self.clients_evaluated: ClientsEvaluated | None = None

    def take(self, event: Event) -> None:  # noqa: C901  # a case an event
        """Take in what is told of this round; what is told of another one is passed over."""
        if getattr(event, "round_number", None) != self.number:
            return
        match event:
            case SlotsFilled():
                self._fill(event)
            case JoinedLive():
                self.slots |= {client_id: Slot(seconds_of(event.time)) for client_id in event.client_ids}
            case OrdersTaken():
                self._begin(event)
            case UpdatesJudged():
                self._judge(event)
            case ResponsesLate():
                for client_id in event.orders.values():
                    if slot := self.slots.get(client_id):
                        slot.is_late = True
            case JobDone():
                ended_at = seconds_of(event.time)
                self.jobs.append(OwnJob(event.job, ended_at - event.duration_s, ended_at))
            case RoundClosed():
                self.closed, self.closed_at = event, seconds_of(event.time)
                self.part_with_all()
            case ModelEvaluated():
                self.evaluated = event
            case ClientsEvaluated():
                self.clients_evaluated = event

    def counts(self) -> dict[SlotState, int]:
        """Return how many clients' orders stand how, in the order of the states."""
        found = Counter(slot.state for slot in self.slots.values())
        return {state: found[state] for state in SlotState if found[state]}

    def part_with_all(self) -> None:
        """Note that nobody waits any more for orders that aren't answered."""
        for slot in self.slots.values():
            if slot.outcome is None:
                slot.state = SlotState.UNANSWERED

    def _begin(self, event: OrdersTaken) -> None:
        for client_id in event.client_ids:
            slot = self.slots.get(client_id)
            if slot is not None and slot.outcome is None:
                slot.state = SlotState.TRAINING

    def _fill(self, event: SlotsFilled) -> None:
        arrived_at = seconds_of(event.time)
        for client_id, outcome in event.slots.items():
            slot = self.slots.get(client_id)
            if slot is None:
                slot = self.slots[client_id] = Slot(self.opened_at)
            slot.state = _FILLED.get(outcome.status, SlotState.FAILED)
            slot.outcome, slot.reason, slot.arrived_at = outcome, outcome.reason, arrived_at

    def _judge(self, event: UpdatesJudged) -> None:
        for client_id in event.accepted:
            if slot := self.slots.get(client_id):
                slot.state = SlotState.ACCEPTED
        for client_id, reason in event.rejected.items():
            if slot := self.slots.get(client_id):
                slot.state, slot.reason = SlotState.REJECTED, reason
        for client_id, scores in event.scores.items():
            if slot := self.slots.get(client_id):
                slot.scores = scores


def view_of(number: int, events: Iterable[Event]) -> RoundView | None:
    """Return a round by the events from its opening on; None if the first isn't that."""
    view = None
    for event in events:
        if view is not None:
            view.take(event)
        elif isinstance(event, RoundOpened) and event.round_number == number:
            view = RoundView(event)
    return view


def seconds_of(time: str) -> float:
    """Return an event's time, in seconds since 1970; 0 if it has none."""
    return datetime.fromisoformat(time).timestamp() if time else 0.0
