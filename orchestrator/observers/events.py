"""The events of a run: all that is told while it goes on, in the order in which it happens.

A line of ``events.jsonl`` is one of them as JSON. A thousand clients that do the same at a time are one event.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from heapq import nlargest
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orchestrator.store.records import ACCEPTED, RoundRecord, SlotRecord, Summary
from tasks.announcement import Announcement
from tasks.messages import Status
from tasks.metrics import Metrics, Spreads
from tasks.readable import Reason

MAX_LABELS = 20
"""Labels of a client that are told."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _checked_time(time: str) -> str:
    if time:
        datetime.fromisoformat(time)
    return time


class _Event(_Told):
    time: Annotated[str, AfterValidator(_checked_time)] = ""
    """When it was told, in UTC, ISO 8601; empty until it is told to observers."""
    run_id: str = ""
    """The run; empty until it is told to observers."""
    kind: str
    """What is told; it says which other fields there are."""


class _OfRound(_Event):
    round_number: int
    """The round."""


class RunStarted(_Event):
    """The run begins, or is taken up again."""

    kind: Literal["run_started"] = "run_started"
    folder: Path
    """The run's folder."""
    rounds: int
    """Rounds that the run has."""
    rounds_closed: int
    """Rounds that were closed before."""
    is_evaluated: bool = False
    """Whether the initial model was evaluated before."""
    workload: str
    """What is trained."""
    algorithm: str
    """How updates become a model."""


class Waiting(_Event):
    """Too few clients are connected, or too few that the selector may choose."""

    kind: Literal["waiting"] = "waiting"
    num_connected: int
    """Clients that are connected, or fit."""
    num_needed: int
    """Clients that are needed."""
    reason: Reason = ""
    """Why those that are connected aren't enough; empty if they are too few."""


class ClientsJoined(_Event):
    """Clients have connected since the last look."""

    kind: Literal["clients_joined"] = "clients_joined"
    clients: dict[str, int]
    """Client id → examples that it trains on."""
    labels: dict[str, dict[str, int]] = {}
    """Client id → label → examples of it, where a client announced labels: of many the 20 with the most examples."""

    @classmethod
    def of(cls, announcements: Collection[Announcement]) -> ClientsJoined:
        """Return what is told of clients that have connected."""
        return cls(
            clients={said.client_id: said.num_examples for said in announcements},
            labels={
                said.client_id: dict(nlargest(MAX_LABELS, said.labels.items(), key=lambda item: item[1]))
                for said in announcements
                if said.labels
            },
        )


class ClientsLeft(_Event):
    """Clients are gone since the last look."""

    kind: Literal["clients_left"] = "clients_left"
    client_ids: tuple[str, ...]
    """Which."""


class Initialised(_Event):
    """The initial model exists."""

    kind: Literal["initialised"] = "initialised"
    metrics: Metrics
    """``loss`` and other metrics on the orchestrator's held-out data; empty if there is none."""
    problem: Reason = ""
    """Why there is no loss, or another metric, although there is held-out data."""


class RoundOpened(_OfRound):
    """The orders of a round are out."""

    kind: Literal["round_opened"] = "round_opened"
    cohort: tuple[str, ...]
    """Ids of the clients that are asked."""


class JoinedLive(_OfRound):
    """Clients joined a round that is open."""

    kind: Literal["joined_live"] = "joined_live"
    client_ids: tuple[str, ...]
    """Which."""


class OrdersTaken(_OfRound):
    """Workers have taken orders to train from their queues since the last look, and are at them."""

    kind: Literal["orders_taken"] = "orders_taken"
    client_ids: tuple[str, ...]
    """Whose orders."""


class Outcome(_Told):
    """How a client's slot of a round was filled."""

    status: Status
    """What came of the order: ``trained``, ``timed_out``, ``failed``, ``lost``, ``rejected``."""
    reason: Reason = ""
    """Why, in words."""
    num_examples: int = 0
    """Examples that it trained on."""
    duration_s: float = 0.0
    """Seconds that it took, by its own clock."""
    cpu_s: float = 0.0
    """Processor seconds that it took, by its own account."""
    size_bytes: int = 0
    """Bytes of its update."""
    metrics: Metrics = {}
    """What it says of its training, like ``train_loss``."""

    @classmethod
    def of(cls, record: SlotRecord) -> Outcome:
        """Return what is told of a slot's record."""
        return cls.model_validate({name: getattr(record, name) for name in cls.model_fields})


class SlotsFilled(_OfRound):
    """Clients have responded in an open round since the last look, or were given up."""

    kind: Literal["slots_filled"] = "slots_filled"
    slots: dict[str, Outcome]
    """Client id → what came of its order, see above."""


class OrdersAnswered(_OfRound):
    """Clients have answered orders of a round that are none to train."""

    kind: Literal["orders_answered"] = "orders_answered"
    order: str
    """Which, like ``evaluate``."""
    cpu_s: dict[str, float]
    """Client id → processor seconds that it took, by its own account."""


class UpdatesJudged(_OfRound):
    """It is decided which updates of a round go into the model."""

    kind: Literal["updates_judged"] = "updates_judged"
    accepted: tuple[str, ...]
    """Ids of the clients whose updates do."""
    rejected: dict[str, Reason]
    """Client id → why its update doesn't."""
    scores: dict[str, dict[str, float]]
    """Client id → scorer → the update's score."""


class ResponsesLate(_OfRound):
    """Responses to orders that were over have come up to the end of this round; they count for nothing."""

    kind: Literal["responses_late"] = "responses_late"
    orders: dict[str, str]
    """Order's id → client id."""
    cpu_s: dict[str, float] = {}
    """Order's id → processor seconds that it took, by the client's account."""


class JobDone(_OfRound):
    """A task of the orchestrator's own workers is done; what comes before the first round is of round 0."""

    kind: Literal["job_done"] = "job_done"
    job: str
    """Which, like ``evaluate``."""
    duration_s: float
    """Seconds that it took."""
    cpu_s: float = 0.0
    """Processor seconds that its process has used since it last told of a job: parts of the round's chord are in it."""


class ClientsEvaluated(_OfRound):
    """Clients have evaluated a round's model on their own held-out data."""

    kind: Literal["clients_evaluated"] = "clients_evaluated"
    metrics: Metrics
    """Averages of their metrics."""
    partial: dict[str, int] = {}
    """Metric → how many clients its average is of, where some don't report it."""
    spread: Spreads = {}
    """Metric → how far clients are from each other in it."""
    num_evaluated: int
    """Clients whose evaluations are in them."""
    not_evaluated: dict[str, Reason]
    """Client id → why it gave none."""


class CrossSiteEvaluated(_Event):
    """Clients have evaluated each other's last models and the global one; what they found is in ``cross-site.json``."""

    kind: Literal["cross_site_evaluated"] = "cross_site_evaluated"
    num_models: int
    num_clients: int


class RoundClosed(_OfRound):
    """A round is closed and on disk."""

    kind: Literal["round_closed"] = "round_closed"
    status: Literal["closed", "failed"]
    """Whether it made a model; a failed round leaves it as it was."""
    reason: Reason
    """Why a failed round failed."""
    num_clients: int
    """Clients of the cohort."""
    num_accepted: int = 0
    """Clients whose updates went into the model."""
    train_metrics: Metrics = {}
    """Averages of what these say of their training, like ``train_loss``."""
    train_partial: dict[str, int] = {}
    """Metric → how many clients its average is of, where some don't report it."""
    duration_s: float
    """Seconds from opening to closing."""
    bytes_down: int
    """Bytes of the model that were sent, times the clients that were asked."""
    bytes_up: int
    """Bytes of the updates that came back."""


class StoppedEarly(_OfRound):
    """The run ends with this round, before its last one."""

    kind: Literal["stopped_early"] = "stopped_early"
    reason: Reason
    """Why: what ``--stop-when`` or ``--patience`` says has come."""


class ModelEvaluated(_OfRound):
    """The model that a round made was evaluated on held-out data, while later rounds went on."""

    kind: Literal["model_evaluated"] = "model_evaluated"
    metrics: Metrics
    """``loss`` and other metrics."""
    problem: Reason = ""
    """Why there is no loss, or another metric."""


class EvaluationSlow(_Event):
    """Evaluating a model takes longer than a round; told once."""

    kind: Literal["evaluation_slow"] = "evaluation_slow"
    num_waiting: int
    """Models that wait to be evaluated."""


class LeftOut(_OfRound):
    """Clients were asked in many rounds in a row and no update of theirs was accepted; told once of each."""

    kind: Literal["left_out"] = "left_out"
    num_rounds: int
    """How many rounds."""
    slots: dict[str, Outcome]
    """Client id → what came of its order in the last of them, see above."""


class RunEnded(_Event):
    """The run has come to an end, good or bad."""

    kind: Literal["run_ended"] = "run_ended"
    summary: Summary
    """What is in ``summary.json``."""


Event = Annotated[
    RunStarted
    | Waiting
    | ClientsJoined
    | ClientsLeft
    | Initialised
    | RoundOpened
    | JoinedLive
    | OrdersTaken
    | SlotsFilled
    | OrdersAnswered
    | UpdatesJudged
    | ResponsesLate
    | JobDone
    | ClientsEvaluated
    | CrossSiteEvaluated
    | RoundClosed
    | StoppedEarly
    | ModelEvaluated
    | EvaluationSlow
    | LeftOut
    | RunEnded,
    Field(discriminator="kind"),
]
Report = Callable[[Event], None]
"""Is told an event at once; neither raises nor waits."""


def told_of(record: RoundRecord) -> Iterator[Event]:
    """Yield what is told of a round when it is closed."""
    number, slots = record.round_number, record.responses
    yield UpdatesJudged(
        round_number=number,
        accepted=tuple(client_id for client_id, slot in slots.items() if slot.status in ACCEPTED),
        rejected={client_id: slot.reason for client_id, slot in slots.items() if slot.status is Status.REJECTED},
        scores={client_id: slot.scores for client_id, slot in slots.items() if slot.scores},
    )
    if record.late:
        yield ResponsesLate(
            round_number=number,
            orders={late.order_id: late.client_id for late in record.late},
            cpu_s={late.order_id: late.cpu_s for late in record.late},
        )
    if record.num_evaluated or record.not_evaluated:
        yield ClientsEvaluated(
            round_number=number,
            metrics=record.client_metrics,
            partial=record.client_partial,
            spread=record.client_spread,
            num_evaluated=record.num_evaluated,
            not_evaluated=record.not_evaluated,
        )
    yield RoundClosed(
        round_number=number,
        status=record.status,
        reason=record.reason,
        num_clients=len(record.cohort),
        num_accepted=sum(slot.status in ACCEPTED for slot in slots.values()),
        train_metrics=record.train_metrics,
        train_partial=record.train_partial,
        duration_s=record.duration_s,
        bytes_down=record.bytes_down,
        bytes_up=record.bytes_up,
    )
