"""What a run writes down: a line a round, the round that is open, a summary at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from orchestrator.store.energy import Energy
from tasks.blobs.blob import BlobRef
from tasks.messages import Order, Response, Status
from tasks.metrics import Metrics, Spreads
from tasks.orders.survey import SurveyOrder
from tasks.readable import Reason, readable

ACCEPTED = (Status.TRAINED, Status.TIMED_OUT)
"""How the slot of a client was filled whose update goes into the model."""
COUNTED = (*ACCEPTED, Status.SURVEYED)
"""How a slot was filled by arrays that count, in either exchange of a round."""


ShortResults = dict[str, int | float | list[int] | list[float]]
"""Results of at most one axis and ``MAX_IN_HISTORY`` numbers, by name."""
MAX_IN_HISTORY = 100


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SlotRecord(_Record):
    """How one client's slot of a round was filled."""

    status: Status
    reason: Reason = ""
    num_examples: int = 0
    num_steps: int = 0
    num_epochs: float = 0.0
    metrics: Metrics = {}
    duration_s: float = 0.0
    """Seconds the client took, by its own clock."""
    cpu_s: float = 0.0
    """Processor seconds that it took, by its own account."""
    size_bytes: int = 0
    """Bytes of the update."""
    digest: str = ""
    """BLAKE3 digest of the update."""
    lengths: dict[str, float] = {}
    """L2 length of what the update changes, by part: see :mod:`verification.proportion`; six digits."""
    scores: dict[str, float] = {}
    """The update's score by each scorer that was asked."""
    scored_by: dict[str, str] = {}
    """Who gave a score: the id of a client, or ``@orchestrator``."""

    @property
    def is_accepted(self) -> bool:
        """Whether what came counts, as far as is known."""
        return self.status in COUNTED

    def rejected(self, reason: str) -> SlotRecord:
        """Return the record of an update that was rejected after it had been taken in."""
        return self.model_copy(update={"status": Status.REJECTED, "reason": readable(reason)})

    @classmethod
    def of(cls, response: Response, status: Status | None = None, reason: str | None = None) -> SlotRecord:
        """Return the record of ``response``, with another status and reason where the orchestrator decided so."""
        return cls(
            status=response.status if status is None else status,
            reason=response.reason if reason is None else reason,
            num_examples=response.num_examples,
            num_steps=response.num_steps,
            num_epochs=response.num_epochs,
            metrics=response.metrics,
            duration_s=response.duration_s,
            cpu_s=response.cpu_s,
            size_bytes=response.update.size_bytes if response.update else 0,
            digest=response.update.digest if response.update else "",
        )

    def response(self, order: Order) -> Response:
        """Return what stands in for the answer to ``order``, whose update has been taken in already."""
        return Response(
            order_id=order.order_id,
            client_id=order.client_id,
            status=self.status,
            reason=self.reason,
            num_examples=self.num_examples,
            num_steps=self.num_steps,
            metrics=self.metrics,
            cpu_s=self.cpu_s,
        )


class Opinion(_Record):
    """What a scorer says of a round's updates."""

    scores: dict[str, float] = {}
    """Whose update -> its score."""
    scored_by: dict[str, str] = {}
    """Whose update -> who gave the score."""
    accepted: list[str] = []
    """Whose updates reach the scorer's threshold."""
    problem: Reason = ""
    """Why it could not score; then nobody's does."""


class Verdicts(_Record):
    """What is found in the verification of a round's updates."""

    records: dict[str, SlotRecord]
    """The records of all slots by client id, sorted, those rejected that are out of proportion."""
    opinions: list[Opinion]
    """What each of the run's scorers says, in their order; nothing where that is for the peers to say."""


class Verified(_Record):
    """What the verification of a round's updates returns; its verdicts are on disk."""

    handed_out: dict[str, BlobRef] = {}
    """Whose update -> where other clients find it, to score it; empty where they aren't asked to."""


class PeerScores(_Record):
    """What clients said of each other's updates."""

    is_alone: bool = False
    """Whether there was one update, and nobody to score it."""
    scores: dict[str, float] = {}
    """Whose update -> its score; who is missing was not scored."""
    scored_by: dict[str, str] = {}
    """Whose update -> the client that was asked to score it."""


class Evaluated(_Record):
    """How good a model is on the orchestrator's held-out data."""

    metrics: Metrics = {}
    """``loss`` and other metrics by name; empty if there is no such data."""
    problem: Reason = ""
    """Why there is no loss or another metric although there is held-out data; empty if there are all."""
    is_due: Annotated[bool, Field(exclude=True)] = True
    """Said by former versions, whose runs' folders are still read."""
    duration_s: float = 0.0
    """Seconds that it took."""
    wants_statistics: Annotated[bool, Field(exclude_if=lambda wants: not wants)] = False
    """There is no initial model yet: the workload goes by statistics of what clients have."""

    @property
    def is_known(self) -> bool:
        """Whether there is held-out data."""
        return bool(self.metrics or self.problem)


class RoundEvaluated(Evaluated):
    """A line of ``evaluations.jsonl``: how good the model is that a round ended with."""

    round_number: int


class CrossSiteRow(_Record):
    """How good one model is on each client's own held-out data."""

    model_of: str | None
    """Whose own last model it is; None for the global one."""
    round_number: int
    """The round that it is of."""
    metrics: dict[str, Metrics]
    """On whose data -> metrics."""
    not_evaluated: dict[str, Reason] = {}
    """Clients that gave no evaluation, and why."""


class CrossSiteMatrix(_Record):
    """What ``cross-site.json`` holds: a row a model, the global one first."""

    rows: list[CrossSiteRow]


class ClosedRound(_Record):
    """What the body of a round's chord returns."""

    status: Literal["closed", "failed"]
    reason: Reason = ""
    responses: dict[str, SlotRecord]
    digest: str
    """BLAKE3 digest of the checkpoint file."""
    state_digest: str = ""
    """BLAKE3 digest of the file with the algorithm's state beside it; empty if it has none."""
    results: ShortResults = {}
    """What became of the clients' results, as far as it is short."""


class Surveyed(_Record):
    """What came of a round's first exchange: what the body of its chord returns."""

    left_out: dict[str, SlotRecord] = {}
    """The slots of the clients that are not asked to train."""
    bytes_up: int = 0
    """Bytes that the others sent."""
    digest: str = ""
    """BLAKE3 digest of the file with the aggregate of what these sent; empty if the round failed."""
    failed: ClosedRound | None = None
    """The round, if it failed by that: too few were left, or nothing can be made of what they sent."""


class LateResponse(_Record):
    """An answer that came late and was not counted."""

    client_id: str
    order_id: str
    status: Status = Status.LATE
    answered: Status
    """What its status would have been in time."""
    cpu_s: float = 0.0
    """Processor seconds that the client took, by its own account."""


class RoundRecord(_Record):
    """A line of ``history.jsonl``."""

    round_number: int
    status: Literal["closed", "failed"]
    reason: Reason = ""
    """Why a failed round failed."""
    cohort: list[str]
    responses: Annotated[dict[str, SlotRecord], Field(validation_alias=AliasChoices("responses", "answers"))]
    """How each client of the cohort responded, by client id; once called ``answers``."""
    train_metrics: Metrics = {}
    """What clients say of their training, like ``train_loss``: averages over the accepted updates."""
    train_partial: dict[str, int] = {}
    """How many clients such an average is of, where some don't report it."""
    metrics: Metrics = {}
    """``loss`` and other metrics of the round's model on the orchestrator's held-out data; empty if it has none.

    They follow the round, in ``evaluations.jsonl``, with the two below; former versions wrote them here.
    """
    evaluation_problem: Reason = ""
    """Why there is no loss, or another metric, although there is held-out data."""
    evaluation_due: bool = True
    """Whether it was this round's turn to be evaluated (``--evaluate-every``); if not, there are no metrics."""
    evaluation_s: float = 0.0
    """Seconds that the evaluation took."""
    client_metrics: Metrics = {}
    """Metrics on the clients' held-out data: averages over those that evaluated it, where they were asked."""
    client_partial: dict[str, int] = {}
    """How many clients such an average is of, where some don't report it."""
    client_spread: Spreads = {}
    """How far clients are from each other, by metric."""
    client_evaluations: dict[str, Metrics] = {}
    """What each client found, by client id."""
    num_evaluated: int = 0
    """Clients whose evaluations are in ``client_metrics``."""
    not_evaluated: dict[str, Reason] = {}
    """Clients that were asked and gave no evaluation, and why."""
    checkpoint: str
    """The checkpoint's file name."""
    digest: str
    """BLAKE3 digest of the checkpoint file."""
    state_digest: str = ""
    """BLAKE3 digest of the file with the algorithm's state beside it; empty if it has none."""
    results: ShortResults = {}
    """What became of the clients' results, as far as it is short; all of it is in that file."""
    started_at: str
    """When the round was opened, in UTC, ISO 8601."""
    duration_s: float
    """Seconds from opening to closing."""
    bytes_down: Annotated[int, Field(ge=0, lt=2**63)]
    """Bytes of the global model that were sent, times the clients that were asked."""
    bytes_up: Annotated[int, Field(ge=0, lt=2**63)]
    """Bytes of the updates that came back."""
    late: list[LateResponse] = []
    """Answers to orders of earlier rounds, or of this one, that came when their slots were filled."""

    @property
    def single_results(self) -> dict[str, int | float]:
        """Those of the results that are one number each."""
        return {name: value for name, value in self.results.items() if isinstance(value, int | float)}

    def with_evaluation(self, evaluated: Evaluated | None) -> RoundRecord:
        """Return the record with what an evaluation of the round's model has found since."""
        if evaluated is None:
            return self
        return self.model_copy(
            update={
                "metrics": evaluated.metrics,
                "evaluation_problem": evaluated.problem,
                "evaluation_s": evaluated.duration_s,
            }
        )


def shown_metrics(rounds: Iterable[Metrics]) -> list[str]:
    """Return which metrics there are in any of these, in the order in which they appear; the loss if there is none."""
    return list(dict.fromkeys(name for metrics in rounds for name in metrics)) or ["loss"]


class OpenRound(_Record):
    """The round that is under way, as it is kept on disk so that it can be taken up again."""

    round_number: int
    cohort: dict[str, str]
    """Client id -> incarnation of the client when the order was sent."""
    parameters: BlobRef
    broadcast: BlobRef | None = None
    """What the algorithm sends along with the model."""
    results_bytes: int = 0
    """How long the results in an update may be."""
    num_clients: int = 1
    """Clients known to the run when the round was opened."""
    is_crowded: bool = False
    """Whether its updates are too many to be all on their way at once, see :mod:`orchestrator.transport.uploads`."""
    is_spread: bool = False
    """Whether own workers take part that don't have the run's folder."""
    surveyed: Surveyed | None = None
    """What came of the round's first exchange; None as long as it is on, or if the algorithm has none."""
    orders_are_out: bool = True
    """Whether the orders of the exchange that is on have been sent; if not sure, they are sent again."""
    started_at: str
    boot_id: str = ""
    """Tells this start of the machine from others: what was taken in before a loss of power may not be on disk."""

    @property
    def trainers(self) -> list[str]:
        """Ids of the clients that are asked to train, in the order of the cohort."""
        left_out = self.surveyed.left_out if self.surveyed else {}
        return [client_id for client_id in self.cohort if client_id not in left_out]

    def asked(self, exchange: str) -> list[str]:
        """Return whom an exchange of the round asks, in the order of its slots."""
        return list(self.cohort) if exchange == SurveyOrder.name else self.trainers

    @property
    def size_bytes(self) -> int:
        """Bytes that go out to each client."""
        return self.parameters.size_bytes + (self.broadcast.size_bytes if self.broadcast else 0)


def _known(metrics: object) -> object:
    """Return metrics without those that are None: a summary of former versions has them."""
    return (
        {name: value for name, value in metrics.items() if value is not None} if isinstance(metrics, dict) else metrics
    )


class Summary(_Record):
    """``summary.json``: the run in short."""

    run_id: str
    status: Literal["completed", "interrupted", "failed"]
    reason: Reason = ""
    rounds: int
    """Rounds that are closed."""
    stopped: Reason = ""
    """Why it ended before its last round, if ``--stop-when`` or ``--patience`` had it do so."""
    best_round: int | None = None
    """The round of the best model, see ``--best-by``; None if it isn't known."""
    rounds_failed: int = 0
    """Those of them that had too few accepted updates, and left the model as it was."""
    final: Annotated[Metrics, BeforeValidator(_known)] = {}
    """How good the final model is on held-out data; empty if there is none."""
    evaluation_problem: Reason = ""
    """Why the final model has no loss, or another metric, although there is held-out data."""
    client_metrics: Metrics = {}
    """How good it is on the clients' held-out data."""
    client_partial: dict[str, int] = {}
    """How many clients such an average is of, where some don't report it."""
    client_spread: Spreads = {}
    """How far clients are from each other, by metric."""
    num_evaluated: int = 0
    """Clients whose evaluations are in ``client_metrics``."""
    num_not_evaluated: int = 0
    """Clients that were asked for one and gave none."""
    seed: int
    workload: str
    algorithm: str
    checkpoint: str
    """The newest checkpoint, relative to the run's folder."""
    wall_time_s: float
    """Seconds since this start of the orchestrator."""
    energy: Energy | None = None
    """What it took, an estimate, where ``--observe energy`` was asked for."""
