"""The client: its workload and data, and how it carries out each order."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celeriac.algorithms import LocalResult
from tasks import arrays, auxiliary
from tasks.blobs.blob import BlobRef, BlobStore, describe
from tasks.files import link_or_copy, replacing
from tasks.messages import (
    DisconnectOrder,
    EvaluateOrder,
    Order,
    Response,
    SetParametersOrder,
    Status,
    SurveyOrder,
    TrainOrder,
    UpdateOrder,
    VerifyOrder,
    finite,
)
from tasks.names import update_name
from tasks.user_code import check_sets, checked_evaluation, user_code
from tasks.workload import ClientData, Evaluation, TimeBudget, TrainResult, Workload
from worker.compressing import Packing
from worker.connection import Connection
from worker.local_state import LocalState
from worker.local_training import Fetched, Received, survey_locally, train_locally
from worker.settings import Allowed

logger = logging.getLogger(__name__)

MODEL_FILE = "model.safetensors"
TOO_LATE = "the order's time was over before it was taken up"


class Models:
    """What the clients of one process share: the global model, and what is sent along with it, read once a round.

    The orders of a round that has two exchanges share it too.

    Args:
        are_shared: Whether the process serves more than one client.
    """

    def __init__(self, *, are_shared: bool = False) -> None:
        self.are_shared = are_shared
        self._latest: dict[str, tuple[str, Fetched]] = {}
        self._kept: tuple[str, Path, tuple[int, ...]] | None = None
        """Digest of the model that was written last, its file, and what tells that from another of its name."""

    def get(self, kind: str, digest: str, fetch: Callable[[], Fetched]) -> Fetched:
        """Return what is known by ``digest``: what was fetched last, or else what ``fetch`` returns.

        Of each kind the last are kept, and let go before others are fetched, so that memory holds one of each.
        """
        found = self._latest.get(kind)
        if found is not None and found[0] == digest:
            return found[1]
        found = None
        self._latest.pop(kind, None)
        fetched = fetch()
        self._latest[kind] = digest, fetched
        return fetched

    def write(self, blobs: BlobStore, ref: BlobRef, path: Path) -> None:
        """Make ``path`` a file with a blob, whole or not at all; clients that are given the same share its bytes.

        A hard link is as good as a copy here, as a model's file is never changed, only replaced. So the farewell to a
        hundred clients reads and writes the model once a pool process.
        """
        with replacing(path) as temporary:
            with suppress(OSError):  # nobody knows what became of that file
                if self._kept is not None and self._kept == (ref.digest, kept := self._kept[1], _mark(kept)):
                    link_or_copy(kept, temporary)
                    return
            temporary.write_bytes(blobs.get(ref))
        self._kept = ref.digest, path, _mark(path)


def _mark(path: Path) -> tuple[int, ...]:
    """Return what tells a file from one that was changed, or has taken its place."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


@dataclass(frozen=True, slots=True)
class Client:
    """A client and what it has.

    Attributes:
        client_id: Its id.
        workload_name: The workload as it was named; orders for another are refused.
        workload: The workload.
        data: The client's own data.
        blobs: Where blobs are.
        folder: The client's own folder; its model is kept there.
        incarnation: New each time the client's worker starts.
        connection: What it has at the broker.
        allowed: What of a user's own an order may name.
        models: What it shares with other clients of this process.
    """

    client_id: str
    workload_name: str
    workload: Workload
    data: ClientData
    blobs: BlobStore
    folder: Path
    incarnation: str
    connection: Connection = field(default_factory=Connection)
    allowed: Allowed = field(default_factory=Allowed)
    models: Models = field(default_factory=Models)

    def survey(self, order: SurveyOrder, say_ready: Callable[[], None] = lambda: None) -> Response:
        """Put what the algorithm wants to know before anybody trains into the blob store; see :meth:`train`."""
        time_left_s = self._time_left_s(order)
        if time_left_s <= 0:
            return self._response(order, Status.FAILED, reason=TOO_LATE)
        latest = self.connection.time() + time_left_s + order.turn_timeout_s
        packing = Packing(order, self.folder, self.workload, self.allowed)
        received = self._received(order, packing, LocalState(self.folder, order.run_id))
        budget = TimeBudget(time_left_s)
        found = survey_locally(self.workload, self.data.train, order, received, budget, self.allowed)
        pieces = list(arrays.encode(packing.pack({}, auxiliary.join({}, auxiliary.widened(found))).arrays))
        update = describe(order.update_blob, pieces)
        response = self._response(order, Status.SURVEYED, num_examples=self.data.num_train, update=update)
        self._send(order, update, pieces, say_ready, latest)
        return response

    def train(self, order: TrainOrder, say_ready: Callable[[], None] = lambda: None) -> Response:
        """Train from the order's parameters on the client's own data and put the update into the blob store.

        Args:
            order: The order.
            say_ready: Called before the client waits for its turn to send the update, if the order wants it to.
        """
        time_left_s = self._time_left_s(order)
        if time_left_s <= 0:
            return self._response(order, Status.FAILED, reason=TOO_LATE)
        latest = self.connection.time() + time_left_s + order.turn_timeout_s
        started = time.monotonic()
        packing = Packing(order, self.folder, self.workload, self.allowed)
        local_state = LocalState(self.folder, order.run_id)
        received = self._received(order, packing, local_state)
        # The update takes about as long to send as the model took to fetch.
        fetch_s = time.monotonic() - started
        budget = TimeBudget(time_left_s - min(2 * fetch_s, time_left_s / 2))
        local = train_locally(self.workload, self.data.train, order, received, budget, self.allowed)
        result = local.trained
        if result.num_steps == 0:
            return self._response(order, Status.FAILED, reason=_why_no_step(result, budget))
        packed = packing.pack(received.model.arrays, auxiliary.join(result.parameters, auxiliary.widened(local.sent)))
        pieces = list(arrays.encode(packed.arrays))
        update = describe(order.update_blob, pieces)
        name, arrived = update_name(order.round_number, update.digest), auxiliary.split(packed.beside)[1]
        with user_code(f"the state of {order.algorithm}"):
            kept = local.state(arrived)
        check_sets(kept, f"the state of {order.algorithm} is in sets")
        local_state.save(name, kept)
        packing.keep(update_name(order.round_number, update.digest), packed)
        response = self._response(
            order,
            Status.TIMED_OUT if budget.cut_short else Status.TRAINED,
            reason=self._warnings(order, local, began_anew=local_state.began_anew or packing.began_anew),
            num_examples=result.num_examples,
            num_steps=result.num_steps,
            num_epochs=result.num_epochs,
            metrics=finite({**result.metrics, **local.metrics}),
        )
        self._send(order, update, pieces, say_ready, latest)
        return response.model_copy(update={"update": update})

    def _warnings(self, order: TrainOrder, local: LocalResult, *, began_anew: bool) -> str:
        """Return what is to be told of an update that counts all the same; that of the algorithm is told once a run."""
        warnings = []
        if began_anew:
            warnings.append("what it kept with its last accepted update was gone: it began anew")
        if local.warning and not order.accepted:
            logger.warning("client %s: %s", self.client_id, local.warning)
            warnings.append(local.warning)
        return "; ".join(warnings)

    def stands_by(self, response: Response) -> bool:
        """Say whether an answer still holds: its update, if it has one, is where it was put, or was taken from there.

        It was taken if the answer is still stored. Else the broker has forgotten both.
        """
        return (
            response.update is None or self.blobs.has(response.update) or self.connection.is_answered(response.order_id)
        )

    def evaluate(self, order: EvaluateOrder) -> Response:
        """Evaluate the order's parameters on the examples that the client holds out."""
        evaluation = self._evaluate(order, self.data.test)
        if problem := evaluation.problem():
            return self._response(order, Status.FAILED, reason=problem)
        num_examples, metrics = evaluation.num_examples, evaluation.metrics()
        return self._response(order, Status.EVALUATED, num_examples=num_examples, metrics=metrics)

    def verify(self, order: VerifyOrder) -> Response:
        """Score another client's update: its accuracy on this client's own training examples.

        They are more than those that the client holds out, and as new to the update's trainer. Where the workload gives
        no accuracy, the order fails.
        """
        evaluation = self._evaluate(order, self.data.train)
        score, accuracy = evaluation.share_right, evaluation.accuracy
        if math.isnan(score):
            given = "none" if accuracy is None else f"{accuracy:g}"
            reason = f"a score needs an accuracy from 0 to 1, and the workload gives {given}"
            return self._response(order, Status.FAILED, reason=reason)
        return self._response(order, Status.SCORED, num_examples=evaluation.num_examples, metrics={"score": score})

    def set_parameters(self, order: SetParametersOrder) -> Response:
        """Keep the order's parameters in the client's folder."""
        self._check_workload(order)
        path = self.folder / MODEL_FILE
        self.models.write(self.blobs, order.parameters, path)
        logger.info("client %s: the model after round %d is in %s", self.client_id, order.round_number, path)
        return self._response(order, Status.DONE)

    def disconnect(self, order: DisconnectOrder) -> Response:
        """Leave the federation; where it is for good, the worker ends within a heartbeat."""
        if order.incarnation != self.incarnation:
            return self._response(order, Status.DONE, reason="the order is for a former start of this client")
        logger.info("client %s was told to leave: %s", self.client_id, order.message)
        self.connection.leave(self.client_id, self.incarnation, order.reconnect_after_s)
        return self._response(order, Status.DONE)

    def _evaluate(self, order: EvaluateOrder | VerifyOrder, data: Any) -> Evaluation:
        parameters = self._fetch(order, order.parameters).own()
        with user_code("evaluate()"):
            return checked_evaluation(self.workload.evaluate(parameters, data))

    def _time_left_s(self, order: Order) -> float:
        return min(order.timeout_s, order.deadline - self.connection.time())

    def _received(self, order: UpdateOrder, packing: Packing, local_state: LocalState) -> Received:
        """Return what an order refers to."""
        surveyed = order.surveyed if isinstance(order, TrainOrder) else None
        comes_twice = surveyed is not None or isinstance(order, SurveyOrder)
        model = self._fetch(order, order.parameters, "model", packing.unpack, keep=comes_twice)
        beside: dict[str, arrays.Arrays] = {}
        for kind, ref in (("broadcast", order.broadcast), ("surveyed", surveyed)):
            if ref is not None:
                beside |= auxiliary.split(self._fetch(order, ref, kind, packing.unpack, keep=comes_twice).arrays)[1]
        return Received(model, beside, local_state.load(order.accepted))

    def _send(
        self,
        order: UpdateOrder,
        update: BlobRef,
        pieces: Sequence[memoryview],
        say_ready: Callable[[], None],
        latest: float,
    ) -> None:
        """Put an update into the blob store, when it is its turn.

        That must be by ``latest``, by the broker's clock: others may wait for this process.
        """
        if order.waits_for_turn:
            say_ready()
            self.connection.wait_for_turn(update.name, order.run_id, timeout_s=latest - self.connection.time())
        self.blobs.put(update, pieces)

    def _fetch(
        self,
        order: Order,
        ref: BlobRef,
        kind: str = "model",
        unpack: Callable[[arrays.Arrays], arrays.Arrays] = lambda packed: packed,
        *,
        keep: bool = False,
    ) -> Fetched:
        """Return the arrays of a blob, unpacked; clients of one process share them.

        So do the orders of a round's two exchanges, where ``keep`` says so.
        """
        self._check_workload(order)

        def fetch() -> Fetched:
            data = self.blobs.get(ref)
            packed = arrays.decode(data)
            found = unpack(packed)
            if found is packed:
                return Fetched(found, lambda: arrays.decode(self.blobs.own(ref, data)))
            return Fetched(found, lambda: arrays.copied(found))

        return self.models.get(kind, ref.digest, fetch) if keep or self.models.are_shared else fetch()

    def _check_workload(self, order: Order) -> None:
        if order.workload != self.workload_name:
            raise ValueError(
                f"the run trains the workload {order.workload!r}, client {self.client_id} has "
                f"{self.workload_name!r}: set CLIENT_WORKLOAD"
            )

    def _response(self, order: Order, status: Status, **rest: object) -> Response:
        return Response.model_validate(
            {"order_id": order.order_id, "client_id": self.client_id, "status": status, **rest}
        )


def _why_no_step(result: TrainResult, budget: TimeBudget) -> str:
    if result.num_examples == 0:
        return "it has no training examples"
    if budget.cut_short:
        return "no step was done in the time that was given"
    return (
        "train() returned num_steps=0: the number of the optimiser's steps is needed, 1 where there are none to count; "
        "an update of no steps is none"
    )
