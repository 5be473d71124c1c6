"""What a run's events add up to: how far it is, its rounds, its clients and its metrics."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.observers.events import (
    ClientsEvaluated,
    ClientsJoined,
    ClientsLeft,
    Event,
    Initialised,
    JoinedLive,
    LeftOut,
    ModelEvaluated,
    Outcome,
    ResponsesLate,
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
from orchestrator.page.round_view import RoundView, seconds_of
from orchestrator.store.records import Summary
from tasks.messages import Status
from tasks.metrics import Metrics

HELD_OUT, CLIENTS, TRAINING = "held-out data", "clients' held-out data", "clients' training"
"""On what metrics are measured."""
MAX_CURVES = 100
"""Metrics that are kept, whatever names clients make up."""
_RECENT = 20
"""Rounds by whose pace the time left is told."""
_TRAIN = "train_"
Points = list[tuple[int, float]]
"""Rounds and values, by round; the initial model's round is 0."""


@dataclass(slots=True)
class ClientLine:
    """What is known of a client over all rounds.

    Attributes:
        client_id: Its id.
        num_examples: Examples that it trains on.
        labels: How many there are of each label, where it announced that.
        connected_at: Since when it is connected, in seconds since 1970; None if it isn't.
        num_asked: Orders to train that it was given.
        train_s: Seconds that it has trained, by its own clock.
        size_bytes: Bytes of its updates.
        reason: Why its last order came to nothing; empty if none did.
    """

    client_id: str
    num_examples: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)
    connected_at: float | None = None
    num_asked: int = 0
    num_accepted: int = 0
    num_rejected: int = 0
    num_failed: int = 0
    num_lost: int = 0
    num_timed_out: int = 0
    num_late: int = 0
    num_trained: int = 0
    train_s: float = 0.0
    size_bytes: int = 0
    reason: str = ""

    @property
    def mean_s(self) -> float:
        """Seconds that it takes for an order, on average, by its own clock; 0 if that isn't known."""
        return self.train_s / self.num_trained if self.num_trained else 0.0

    def note(self, outcome: Outcome) -> None:
        """Note what came of an order."""
        self.num_failed += outcome.status is Status.FAILED
        self.num_lost += outcome.status is Status.LOST
        self.num_timed_out += outcome.status is Status.TIMED_OUT
        self.size_bytes += outcome.size_bytes
        self.num_examples = outcome.num_examples or self.num_examples
        self.reason = outcome.reason or self.reason
        if outcome.duration_s:
            self.num_trained += 1
            self.train_s += outcome.duration_s


class RunState:
    """A run, by its events so far.

    Args:
        num_rounds: Rounds that the run has, as far as is known; the events say so, too.
    """

    def __init__(self, num_rounds: int = 0) -> None:
        self.num_rounds = num_rounds
        self.started: RunStarted | None = None
        self.started_at = 0.0
        self.told_at = 0.0
        """When the last event was told, in seconds since 1970."""
        self.rounds: dict[int, RoundClosed] = {}
        self.round: RoundView | None = None
        """The round that was opened last."""
        self.offsets: dict[int, int] = {}
        """Where the opening of a round is in the file of events."""
        self.clients: dict[str, ClientLine] = {}
        self.curves: dict[str, dict[str, Points]] = {}
        """Metric -> on what it was measured -> points."""
        self.metrics: Metrics = {}
        """Those of the last model that was evaluated."""
        self.note = ""
        """What the run waits for, or why it ends early."""
        self.problem = ""
        """Why the last model could not be evaluated, or only in part."""
        self.summary: Summary | None = None
        self.num_closed = 0
        self._recent: deque[tuple[int, float]] = deque(maxlen=_RECENT)

    def take(self, event: Event, offset: int = 0) -> None:  # noqa: C901  # a case an event
        """Take in an event, which is at this place of the file."""
        self.told_at = seconds_of(event.time)
        if self.round is not None:
            self.round.take(event)
        match event:
            case RunStarted():
                self._start(event)
            case RoundOpened():
                self.note = ""
                self.round = RoundView(event)
                self.offsets[event.round_number] = offset
                self._ask(event.cohort)
            case JoinedLive():
                self._ask(event.client_ids)
            case SlotsFilled():
                for client_id, outcome in event.slots.items():
                    self._client(client_id).note(outcome)
            case UpdatesJudged():
                self._judge(event)
            case RoundClosed():
                self._close(event)
            case Initialised():
                self._evaluated(0, event.metrics, event.problem)
            case ModelEvaluated():
                self._evaluated(event.round_number, event.metrics, event.problem)
            case ClientsEvaluated():
                self._draw(CLIENTS, event.round_number, event.metrics)
            case RunEnded():
                self._end(event)
            case _:
                self._take_rest(event)

    def part_with_all(self) -> None:
        """Note that no client is connected any more, and none waited for."""
        for line in self.clients.values():
            line.connected_at = None
        if self.round is not None:
            self.round.part_with_all()

    def time_left_s(self, now: float) -> float | None:
        """Return the seconds that the run has left, by the pace of its last rounds; None if that isn't known."""
        if self.summary is not None or len(self._recent) < 2:
            return None
        (first, began_at), (last, ended_at) = self._recent[0], self._recent[-1]
        pace_s = (ended_at - began_at) / (last - first)
        return max(0.0, pace_s * (self.num_rounds - last) - (now - ended_at))

    def _take_rest(self, event: Event) -> None:  # noqa: C901  # a case an event
        match event:
            case ClientsJoined():
                for client_id, num_examples in event.clients.items():
                    line = self._client(client_id)
                    line.num_examples, line.connected_at = num_examples, self.told_at
                    line.labels = event.labels.get(client_id, line.labels)
            case ClientsLeft():
                for client_id in event.client_ids:
                    self._client(client_id).connected_at = None
            case ResponsesLate():
                for client_id in event.orders.values():
                    self._client(client_id).num_late += 1
            case Waiting():
                self.note = waiting(event)
            case StoppedEarly():
                self.note = event.reason
            case LeftOut():
                for client_id in event.slots:
                    line = self._client(client_id)
                    line.reason = f"no update accepted in {event.num_rounds} rounds in a row: {line.reason}"

    def _start(self, event: RunStarted) -> None:
        self.started, self.summary, self.note = event, None, ""
        self.started_at = self.started_at or self.told_at
        self.num_rounds, self.num_closed = event.rounds, event.rounds_closed
        self._recent.clear()
        self.part_with_all()

    def _end(self, event: RunEnded) -> None:
        self.summary, self.note = event.summary, ""
        self.part_with_all()

    def _ask(self, client_ids: Iterable[str]) -> None:
        for client_id in client_ids:
            self._client(client_id).num_asked += 1

    def _close(self, event: RoundClosed) -> None:
        self.rounds[event.round_number] = event
        self.num_closed = event.round_number
        self._recent.append((event.round_number, self.told_at))
        self._draw(TRAINING, event.round_number, event.train_metrics)

    def _judge(self, event: UpdatesJudged) -> None:
        for client_id in event.accepted:
            self._client(client_id).num_accepted += 1
        for client_id, reason in event.rejected.items():
            line = self._client(client_id)
            line.num_rejected += 1
            line.reason = reason

    def _evaluated(self, round_number: int, metrics: Metrics, problem: str) -> None:
        self.metrics = metrics or self.metrics
        self.problem = problem
        self._draw(HELD_OUT, round_number, metrics)

    def _draw(self, measured: str, round_number: int, metrics: Mapping[str, float]) -> None:
        """Add points; one of a round that is done again takes the place of the former."""
        for name, value in metrics.items():
            shown = name.removeprefix(_TRAIN) if measured == TRAINING else name
            if shown not in self.curves and len(self.curves) >= MAX_CURVES:
                continue
            points = self.curves.setdefault(shown, {}).setdefault(measured, [])
            while points and points[-1][0] >= round_number:
                points.pop()
            points.append((round_number, value))

    def _client(self, client_id: str) -> ClientLine:
        line = self.clients.get(client_id)
        if line is None:
            line = self.clients[client_id] = ClientLine(client_id)
        return line
