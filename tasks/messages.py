"""Orders and their answers: small JSON with references, never weights.

An order goes to a client's queue as the one argument of a Celery task; the answer is what the task returns. A
client's failure is a value: an answer with a status and a reason, never an exception. Here is what all kinds of orders
have in common; each kind is a file of :mod:`tasks.orders`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.blobs.blob import BlobRef
from tasks.errors import MessageError
from tasks.metrics import Metrics
from tasks.names import ID_PATTERN
from tasks.option import ALGORITHM, Option
from tasks.protocol import PROTOCOL, difference
from tasks.readable import Reason
from tasks.run_config import RunSettings
from tasks.scope import ClientScope

MAX_COUNT = 10**12
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
MAX_TIMEOUT_S = 43_200
"""Seconds that an order may take at the most: half a day."""
MAX_DURATION_S = MAX_TIMEOUT_S + 3_600
"""Seconds that a client may say it took: an hour more, for its turn to send, and for what stops late."""
MAX_CPU_S = 1_000 * MAX_DURATION_S
"""Processor seconds that it may say it took: so many on a thousand cores."""
MAX_AWAY_S = 7 * 24 * 3600
"""Seconds that a client may be told to stay away for at the most, if not for good."""
MAX_RESPONSE_BYTES = 2**20
"""How long an answer to any order may be, as it is stored."""
HARD_LIMIT_S = 1.0
"""Seconds after an order's timeout at which the process that carries it out is killed, as the last resort."""
MAX_TURN_S = 300.0
"""Seconds that updates may wait for their turn at the most."""


Protocol = Annotated[int, Field(ge=1)]
"""See :mod:`tasks.protocol`."""


class Status(StrEnum):
    """How a slot of a round was filled."""

    SURVEYED = "surveyed"
    """The client sent what its algorithm wants to know before it trains."""
    TRAINED = "trained"
    """The client trained all it was asked to."""
    TIMED_OUT = "timed_out"
    """Time ran out; the update holds the steps that were done."""
    EVALUATED = "evaluated"
    """The client evaluated the model on its own held-out data."""
    SCORED = "scored"
    """The client scored another's update; ``metrics["score"]`` is the score."""
    DONE = "done"
    """The client did what an order without a result told it to."""
    FAILED = "failed"
    """The client could not do it; the reason says why."""
    REJECTED = "rejected"
    """The orchestrator did not take the update; the reason says why."""
    LOST = "lost"
    """The client vanished."""
    LATE = "late"
    """The answer came after the slot was closed."""


_WITHOUT_RESULT = (Status.FAILED, Status.REJECTED, Status.LOST)
READY = "READY"
"""State of the Celery task of a client that has trained and waits for its turn to send its update."""


class Message(BaseModel):
    """What is sent: nothing in it changes, and it has no field that isn't known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainOptions(Message):
    """How a client trains: the hyperparameters of local training."""

    epochs: Annotated[int, Field(ge=1, le=100_000), Option("N", capped=False, group=ALGORITHM)] = 5
    """Passes over its data that a client makes in a round."""
    batch_size: Annotated[int, Field(ge=1), Option("N", group=ALGORITHM)] = 32
    """Examples in a training step."""
    max_steps: Annotated[
        int | None, Field(ge=1), Option("N", default="as many as the passes have", group=ALGORITHM)
    ] = None
    """Steps that a client makes in a round, in as many passes as they take, in place of `--epochs`."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False), Option("RATE", group=ALGORITHM)] = 0.1
    """Learning rate of the clients."""


def turn_timeout_s(timeout_s: float) -> float:
    """Return the seconds that a client which has ``timeout_s`` for its work may wait for its turn after that."""
    return min(timeout_s, MAX_TURN_S)


class Response(Message):
    """What a client says in return for any order."""

    protocol: Protocol = PROTOCOL
    order_id: Annotated[str, Field(max_length=300)]
    client_id: Annotated[str, Field(max_length=64)]
    status: Status
    reason: Reason = ""
    num_examples: Count = 0
    """Examples that the client trained or evaluated on."""
    num_steps: Count = 0
    """Optimiser steps that were done."""
    num_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Passes over the data that were done; a part of one counts as a part."""
    metrics: Metrics = {}
    duration_s: Annotated[float, Field(ge=0, le=MAX_DURATION_S, allow_inf_nan=False)] = 0.0
    """Seconds the client took, by its own clock."""
    cpu_s: Annotated[float, Field(ge=0, le=MAX_CPU_S, allow_inf_nan=False)] = 0.0
    """Processor seconds that its process took, with the programs that this started, by its own account."""
    update: BlobRef | None = None
    """Where a trained client put its parameters."""


class Order(Message):
    """What every order says."""

    name: ClassVar[str]
    """Kind of the order, as it stands in order ids and in the name of the Celery task that carries it."""
    allowed: ClassVar[frozenset[Status]] = frozenset({Status.DONE, Status.FAILED})
    """What its answer may say."""
    response: ClassVar[type[Response]] = Response
    """What its answer is; where no answer can be given it is a plain :class:`Response`."""
    max_response_bytes: ClassVar[int] = MAX_RESPONSE_BYTES
    """How long its own may be: reading one takes up to 25 times its length."""

    protocol: Protocol = PROTOCOL
    order_id: Annotated[str, Field(max_length=300)]
    run_id: Annotated[str, Field(pattern=ID_PATTERN)]
    """Name of the run; clients keep what is theirs of it in a folder of that name."""
    client_id: Annotated[str, Field(pattern=ID_PATTERN)]
    round_number: Annotated[int, Field(ge=0, le=10**9)]
    workload: str
    """Name of the workload that the run trains, to be compared with the client's own."""
    timeout_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False)]
    """Seconds the client may take, from when it begins; then it returns what it has."""
    deadline: Annotated[float, Field(allow_inf_nan=False)]
    """When its time is over wherever it is, waiting in a queue included: seconds since 1970 by the broker's clock."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the blobs that it refers to."""
        return sum(value.size_bytes for _, value in self if isinstance(value, BlobRef))

    @property
    def hard_limit_s(self) -> float:
        """Seconds after which the process that carries it out is killed."""
        return self.timeout_s + HARD_LIMIT_S

    @property
    def turn_timeout_s(self) -> float:
        """Seconds after its time that a client which was ready by then may wait for its turn, and send."""
        return turn_timeout_s(self.timeout_s)

    @property
    def update_blob(self) -> str:
        """Name of the blob that the client puts those arrays into which come with its answer."""
        return ClientScope(self.client_id).update(self.run_id, self.round_number)

    def respond(self, status: Status = Status.DONE, **rest: object) -> Response:
        """Return an answer to this order, with what it says beside its status.

        Raises:
            MessageError: If that isn't what such an answer says.
        """
        said = {"protocol": PROTOCOL, "order_id": self.order_id, "client_id": self.client_id, "status": status, **rest}
        return decode(self.response_of(status), said)

    def check(self, response: Response) -> None:  # optional
        """Refuse an answer that doesn't suit this order, whose fields are right each by itself.

        Raises:
            MessageError: If it doesn't.
        """

    def response_of(self, status: object) -> type[Response]:
        """Return what an answer of this status is."""
        return Response if status in _WITHOUT_RESULT else self.response


class Study(Message):
    """What a run says to the code of its study, the same to all clients of a round."""

    num_rounds: Annotated[int, Field(ge=1)] = 1
    """Rounds that the run is to have."""
    cohort_size: Count = 0
    """Clients that were asked when the round opened."""
    options: TrainOptions = TrainOptions()
    """How clients train."""
    run_config: RunSettings = {}
    """The study's own settings."""


class StudyOrder(Order):
    """What every order says that has the study's code do something with a model."""

    max_response_bytes: ClassVar[int] = 2**18

    parameters: BlobRef
    study: Study
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Seeds whatever is random in this client's work of this round."""
    accepted: Annotated[str, Field(pattern=r"^([0-9]{4,12}-[0-9a-f]{16})?$")] = ""
    """The last update of this client that was accepted, see :func:`tasks.names.update_name`; empty: none yet."""


class UpdateOrder(StudyOrder):
    """What every order says whose answer comes with arrays: it is the client's part of an algorithm."""

    algorithm: str = "fedavg"
    """The algorithm whose client's part is to be carried out."""
    settings: dict[str, float] = {}
    """The algorithm's hyperparameters."""
    num_clients: Annotated[int, Field(ge=1)] = 1
    """Clients known to the run, by which some algorithms go."""
    broadcast: BlobRef | None = None
    """What the algorithm sends along with the model."""
    compression: str = "none"
    """How model and broadcast are compressed, and how the update is to be."""
    results_bytes: Annotated[int, Field(ge=0)] = 0
    """How long the results in the update may be."""
    waits_for_turn: bool = False
    """Whether the client is to say that it is ready, and to send its update when it is told to: see
    :mod:`tasks.broker.turns`."""

    @property
    def hard_limit_s(self) -> float:
        """Seconds after which the process that carries it out is killed: it may wait for its turn."""
        return super().hard_limit_s + (self.turn_timeout_s if self.waits_for_turn else 0.0)


M = TypeVar("M", bound=BaseModel)


def decode(kind: type[M], message: object) -> M:
    """Return ``message``, as it came out of JSON, as a checked message of this kind; what isn't known is passed over.

    Raises:
        MessageError: If anything is missing, of the wrong type or out of range, or if it is of another protocol.
    """
    speaks = isinstance(message, dict) and "protocol" in kind.model_fields
    if speaks and (why := difference(message.get("protocol"))):  # type: ignore[attr-defined]  # it is a dict
        raise MessageError(f"{kind.__name__}: {why}"[:500])
    try:
        return kind.model_validate(message, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise MessageError(f"{kind.__name__}: {where}: {first['msg']}"[:500]) from None


def encode(message: BaseModel) -> dict[str, object]:
    """Return ``message`` as what JSON can hold."""
    return message.model_dump(mode="json")
