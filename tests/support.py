"""What several test modules share: messages and announcements with every field filled in, and a tiny workload."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate
from celeriac.algorithms import Algorithm, LocalResult, LocalTask, ServerRound, State, equally
from celeriac.compressors.arraywise import Arraywise
from celeriac.selectors import ConnectedClient, Selection
from orchestrator.config import RunConfig
from orchestrator.jobs.close_round import close_round
from orchestrator.jobs.ingest import ingest_responses
from orchestrator.jobs.job import Job, Loaded
from orchestrator.jobs.verify import drop_outliers, judged, verify_updates
from orchestrator.store.records import ClosedRound, PeerScores, RoundRecord, SlotRecord
from orchestrator.store.run_folder import RunFolder
from tasks.announcement import Announcement, Hardware, PassedOver
from tasks.arrays import Array, Arrays, ArraySpec, Spec, encode
from tasks.blobs.blob import BlobRef, BlobStore, publish
from tasks.blobs.chunks import MemoryChunks
from tasks.context import Context
from tasks.evaluation import Evaluation
from tasks.messages import Order, Response, Status, Study
from tasks.orders.evaluate import EvaluateOrder
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tasks.protocol import PROTOCOL
from tasks.scope import ClientScope
from tasks.seeds import generator
from tasks.workload import ClientData, DataSource, TrainResult, Workload

PULL = "tests.support:Pull"
DIGEST = "0" * 64
HARDWARE = Hardware(num_cpus=2, memory_bytes=2**30)


@contextmanager
def with_umask(umask: int) -> Iterator[None]:
    """What this process makes is made with another umask, and so is what the processes do that it starts."""
    former = os.umask(umask)
    try:
        yield
    finally:
        os.umask(former)


def modes_under(folder: Path) -> dict[str, int]:
    """The permissions of a folder and all under it that is there at the time, by their paths in it."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):
            found[str(path.relative_to(folder))] = stat.S_IMODE(path.stat().st_mode)
    return found


def open_to_others(folder: Path) -> list[str]:
    """What of it its owner isn't alone to read, write or enter."""
    return [path for path, mode in modes_under(folder).items() if mode & 0o077]


class MemoryRegistry:
    """Announcements in this process's memory; they don't expire."""

    def __init__(self) -> None:
        self.announcements: dict[str, Announcement] = {}
        self.passed_over: list[tuple[str, str]] = []
        """Client ids and what they were told."""

    def say_passed_over(self, reasons: PassedOver) -> None:
        """Keep whom was told what."""
        self.passed_over += [(client_id, reason) for client_id, (_, reason) in reasons.items()]

    def announce(self, announcement: Announcement) -> Announcement | None:
        """Put up or refresh an announcement, and return the one of this client that was there."""
        former = self.announcements.get(announcement.client_id)
        self.announcements[announcement.client_id] = announcement
        return former

    def announce_leaving(self, announcement: Announcement) -> None:
        """Say that a client is leaving, if what it announced is still up."""
        current = self.announcements.get(announcement.client_id)
        if current is not None and current.incarnation == announcement.incarnation:
            self.announce(announcement.model_copy(update={"leaving": True}))

    def present(self) -> dict[str, Announcement]:
        """Return all announcements by client id."""
        return dict(sorted(self.announcements.items()))


class Pull(Workload):
    """Pulls a point of float32 towards each of the client's own points in turn: w + rate * (x - w).

    Beside the point it counts the steps that went into it, in an int64 array without dimensions.
    """

    def initial_parameters(self, context: Context) -> Arrays:
        point = generator(context.seed, "point").standard_normal(3)
        return {"point": point.astype(np.float32), "steps": np.array(0)}

    def client_data(self, source: DataSource) -> ClientData:
        return points("client", 4)

    def holdout_data(self, folder: Path | None) -> Any:
        return points("held out", 8).test

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        point, num_steps = parameters["point"].copy(), 0
        for index in generator(context.seed, "shuffle").permutation(
            np.tile(np.arange(len(data)), context.options.epochs)
        ):
            point += np.float32(context.options.learning_rate) * (data[index] - point)
            num_steps += 1
            if num_steps < context.options.epochs * len(data) and context.budget.is_over():
                break
        trained = {"point": point, "steps": np.array(parameters["steps"] + num_steps)}
        loss = self.evaluate(trained, data, context).loss
        metrics = {} if loss is None else {"train_loss": loss}
        return TrainResult(trained, len(data), num_steps, num_steps / len(data), metrics)

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        distances = np.abs(data - parameters["point"]).mean(axis=1, dtype=np.float64)
        return Evaluation(float(distances.mean()), len(distances), {"accuracy": float((distances < 1).mean())})


class Raising(Pull):
    """Fails at training."""

    def train(self, *_: Any, **__: Any) -> TrainResult:
        raise RuntimeError("the disk is full")


class InPlace(Workload):
    """Adds 1 in the memory that it is given, and again when it evaluates: PyTorch heeds no read-only flag."""

    def initial_parameters(self, context: Context) -> Arrays:
        return {"w": np.zeros((60, 70), np.float32)}

    def client_data(self, source: DataSource) -> ClientData:
        return points("client", 4)

    def holdout_data(self, folder: Path | None) -> Any:
        return points("held out", 8).test

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        return TrainResult({"w": added_in_place(parameters["w"])}, len(data), 1, 1.0)

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        found = float(parameters["w"][0, 0])
        added_in_place(parameters["w"])
        return Evaluation(found, len(data), {"accuracy": 0.5})


def added_in_place(values: Array) -> Array:
    """Add 1 through PyTorch, which warns where NumPy would refuse."""
    import torch  # clients of integration tests take algorithms out of here: they needn't wait for it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensor = torch.from_numpy(values)
    tensor += 1
    return tensor.numpy()


class Diverging(Pull):
    """Ends up where no number is."""

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        result = super().train(parameters, data, context)
        broken = {**result.parameters, "point": np.full(3, np.nan, np.float32)}
        return TrainResult(broken, result.num_examples, result.num_steps, result.num_epochs, {})


class WithoutHoldout(Pull):
    """Has nothing to evaluate the global model on."""

    def holdout_data(self, folder: Path | None) -> Any:
        return None


class WithoutAccuracy(Pull):
    """Gives a loss alone."""

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return Evaluation(super().evaluate(parameters, data, context).loss, len(data))


EQUAL_WEIGHTS = Algorithm(name="equal", weigh=equally)


def ask_for_loss(task: LocalTask) -> State:
    """Send the loss at the round's model, in each element of an array."""
    return {"loss": {"point": np.full_like(task.parameters["point"], task.loss())}}


def train_and_say_what_came(task: LocalTask) -> LocalResult:
    """Train plainly, and say what the mean loss is said to be."""
    return LocalResult(task.train(None), metrics={"told": float(task.broadcast["loss"]["point"][0])})


def add_loss(server: ServerRound) -> tuple[Arrays, State]:
    """Return the mean, the mean loss added."""
    return {**server.target, "point": server.target["point"] + server.surveyed["loss"]["point"]}, {}


ASKING_FIRST = Algorithm(
    name="asking_first",
    local=train_and_say_what_came,
    weigh=equally,
    step=add_loss,
    survey=ask_for_loss,
    surveyed=("loss",),
)
"""Asks each client for its loss before any of them trains."""


class HalfPrecision(Arraywise):
    """A compressor of one's own: float32 as float16."""

    dtypes = ("F32",)

    def __init__(self, parameter: str) -> None:
        self.parameter = parameter

    def parts(self, original: ArraySpec) -> Spec:
        return {"half": ArraySpec("F16", original.shape)}

    def encode(self, values: Array) -> dict[str, Array]:
        return {"half": values.astype(np.float16)}

    def decode(self, parts: Arrays, original: ArraySpec) -> Array:
        if self.parameter == "raising":
            raise ZeroDivisionError("no luck")
        return parts["half"]


def select_last(clients: Sequence[ConnectedClient], selection: Selection) -> list[str]:
    """Choose the clients that connected last."""
    return [client.client_id for client in clients[-selection.num_wanted :]]


def select_stranger(clients: Sequence[ConnectedClient], selection: Selection) -> list[str]:
    """Choose somebody who isn't there."""
    return ["stranger"]


def select_with_error(clients: Sequence[ConnectedClient], selection: Selection) -> list[str]:
    """Choose nobody, and fail at it."""
    raise ZeroDivisionError("no luck")


def aggregate_first(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> dict[str, Array]:
    """Take the first update as it is."""
    return dict(updates[0].parameters)


def mix_nothing(
    updates: Sequence[WeightedUpdate], context: AggregatorContext, rng: np.random.Generator
) -> dict[str, Array]:
    """Return no mixing matrix."""
    return {}


def points(name: str, number: int) -> ClientData:
    """Points around a centre that ``name`` alone decides."""
    rng = generator(11, name)
    drawn = (rng.standard_normal(3) + rng.standard_normal((number + 2, 3))).astype(np.float32)
    return ClientData(train=drawn[:number], test=drawn[number:], num_train=number, labels={"point": number})


def announcement(client_id: str, incarnation: str = "first", **changes: Any) -> Announcement:
    values = {"protocol": PROTOCOL, "workload": PULL, "num_examples": 5, "hardware": HARDWARE, **changes}
    return Announcement.model_validate({"client_id": client_id, "incarnation": incarnation, **values})


def blob_ref(name: str = "fl:blob:model/run/0", **changes: Any) -> BlobRef:
    return BlobRef.model_validate({"name": name, "size_bytes": 100, "digest": DIGEST, **changes})


def train_order(client_id: str = "anna", round_number: int = 1, **changes: Any) -> TrainOrder:
    values = {"parameters": blob_ref(), "study": Study(num_rounds=3), "seed": 7}
    return TrainOrder.model_validate({**_common(client_id, round_number, "train"), **values, **changes})


def survey_order(client_id: str = "anna", round_number: int = 1, **changes: Any) -> SurveyOrder:
    values = {"parameters": blob_ref(), "study": Study(num_rounds=3), "seed": 7}
    return SurveyOrder.model_validate({**_common(client_id, round_number, "survey"), **values, **changes})


def evaluate_order(client_id: str = "anna", round_number: int = 1, **changes: Any) -> EvaluateOrder:
    common = _common(client_id, round_number, "evaluate")
    return EvaluateOrder.model_validate(
        {**common, "parameters": blob_ref(), "study": Study(num_rounds=3), "seed": 7, **changes}
    )


def _common(client_id: str, round_number: int, kind: str) -> dict[str, object]:
    return {
        "order_id": ClientScope(client_id).order_id("run", round_number, kind),
        "run_id": "run",
        "client_id": client_id,
        "round_number": round_number,
        "workload": PULL,
        "timeout_s": 60.0,
        "deadline": 1e12,
    }


def trained(order: Order, update: BlobRef | None = None, **changes: Any) -> Response:
    """The answer of a client that trained, its update at the right name."""
    update = update or blob_ref(order.update_blob)
    values = {"status": Status.TRAINED, "num_examples": 5, "num_steps": 10, "update": update}
    return Response.model_validate({"order_id": order.order_id, "client_id": order.client_id, **values, **changes})


def surveyed(order: Order, update: BlobRef | None = None, **changes: Any) -> Response:
    """The answer of a client to an order of a first exchange, its arrays at the right name."""
    update = update or blob_ref(order.update_blob)
    values = {"status": Status.SURVEYED, "num_examples": 5, "update": update}
    return Response.model_validate({"order_id": order.order_id, "client_id": order.client_id, **values, **changes})


def publish_update(chunks: BlobStore, order: Order, parameters: Arrays) -> BlobRef:
    """Put parameters where the client's update is to be."""
    return publish(chunks, order.update_blob, encode(parameters))


def run_config(**changes: Any) -> RunConfig:
    return RunConfig.model_validate({"run_id": "run", "workload": PULL, **changes})


def job_of(folder: RunFolder, store: BlobStore | None = None, round_number: int = 1) -> Job:
    """A job of a process that has loaded nothing yet."""
    return Job(folder, round_number, Loaded(lambda _: store or MemoryChunks()))


def take_in(job: Job, response: Response, exchange: str = "train") -> SlotRecord:
    """Take an answer in, and return the record of its slot."""
    return ingest_responses(job, [response], exchange)[response.client_id]


def close_job(job: Job, records: Mapping[str, SlotRecord]) -> ClosedRound:
    """Close a round as its tasks do, with these records of its slots."""
    if not job.config.verify:
        return close_round(job, drop_outliers(job, records))
    verify_updates(job, records)
    return close_round(job, judged(job, PeerScores()))


def round_record(round_number: int = 1, **changes: Any) -> RoundRecord:
    values = {
        "status": "closed",
        "cohort": ["anna"],
        "responses": {"anna": SlotRecord(status=Status.TRAINED, num_examples=5)},
        "metrics": {"loss": 0.5, "accuracy": 0.75},
        "checkpoint": f"round-{round_number:04d}.safetensors",
        "digest": DIGEST,
        "started_at": "2026-01-02T03:04:05.678+00:00",
        "duration_s": 1.5,
        "bytes_down": 100,
        "bytes_up": 200,
    }
    return RoundRecord.model_validate({"round_number": round_number, **values, **changes})
