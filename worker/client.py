"""The client: its workload and data, and how it carries out each order."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algorithms import LocalResult
from tasks import arrays, sets
from tasks.blobs import BlobRef, BlobStore, describe
from tasks.messages import (
    Answer,
    DisconnectOrder,
    EvaluateOrder,
    Order,
    SetParametersOrder,
    Status,
    SurveyOrder,
    TrainOrder,
    UpdateOrder,
    VerifyOrder,
    finite,
)
from tasks.names import update_name
from tasks.turns import Turns
from tasks.user_code import SEE_LOG, UserCodeError, check_sets, checked_evaluation, user_code
from tasks.workload import ClientData, Evaluation, TimeBudget, TrainResult, Workload
from worker.compressing import Packing
from worker.keeping import keep
from worker.local_state import LocalState
from worker.local_training import Received, survey_locally, train_locally
from worker.shared_models import Fetched, forget_shared, shared
from worker.soft_limit import soft_limit

logger = logging.getLogger(__name__)

MODEL_FILE = "model.safetensors"
TOO_LATE = "the order's time was over before it was taken up"


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
        leave: Called with a number of seconds: leave, and come back after that many; 0: never.
        broker_time: Returns the seconds since 1970 by the broker's clock, which all sides share.
        algorithm: The algorithm that isn't built in and may be carried out here all the same.
        turns: Tells when it is an update's turn to be sent.
        is_answered: Says of an order's id whether its answer is stored.
        compression: The compression that isn't built in and may be used here all the same.
    """

    client_id: str
    workload_name: str
    workload: Workload
    data: ClientData
    blobs: BlobStore
    folder: Path
    incarnation: str
    leave: Callable[[float], None]
    broker_time: Callable[[], float] = time.time
    algorithm: str | None = None
    turns: Turns | None = None
    is_answered: Callable[[str], bool] = lambda _order_id: False
    compression: str | None = None

    def survey(self, order: SurveyOrder, say_ready: Callable[[], None] = lambda: None) -> Answer:
        """Put what the algorithm wants to know before anybody trains into the blob store; see :meth:`train`."""
        time_left_s = self._time_left_s(order)
        if time_left_s <= 0:
            return self._answer(order, Status.FAILED, reason=TOO_LATE)
        latest = self.broker_time() + time_left_s + order.turn_timeout_s
        packing = Packing(order, self.folder, self.workload, self.compression)
        received = self._received(order, packing, LocalState(self.folder, order.run_id))
        budget = TimeBudget(time_left_s)
        with soft_limit(budget):
            found = survey_locally(self.workload, self.data.train, order, received, budget, self.algorithm)
        pieces = list(arrays.encode(packing.pack({}, sets.join({}, sets.widened(found))).arrays))
        update = describe(order.update_blob, pieces)
        answer = self._answer(order, Status.SURVEYED, num_examples=self.data.num_train, update=update)
        self._send(order, update, pieces, say_ready, latest)
        return answer

    def train(self, order: TrainOrder, say_ready: Callable[[], None] = lambda: None) -> Answer:
        """Train from the order's parameters on the client's own data and put the update into the blob store.

        Args:
            order: The order.
            say_ready: Called before the client waits for its turn to send the update, if the order wants it to.
        """
        time_left_s = self._time_left_s(order)
        if time_left_s <= 0:
            return self._answer(order, Status.FAILED, reason=TOO_LATE)
        latest = self.broker_time() + time_left_s + order.turn_timeout_s
        started = time.monotonic()
        packing = Packing(order, self.folder, self.workload, self.compression)
        local_state = LocalState(self.folder, order.run_id)
        received = self._received(order, packing, local_state)
        # The update takes about as long to send as the model took to fetch.
        fetch_s = time.monotonic() - started
        budget = TimeBudget(time_left_s - min(2 * fetch_s, time_left_s / 2))
        with soft_limit(budget):
            local = train_locally(self.workload, self.data.train, order, received, budget, self.algorithm)
        result = local.trained
        if result.num_steps == 0:
            return self._answer(order, Status.FAILED, reason=_why_no_step(result, budget))
        packed = packing.pack(received.model.arrays, sets.join(result.parameters, sets.widened(local.sent)))
        pieces = list(arrays.encode(packed.arrays))
        update = describe(order.update_blob, pieces)
        name, arrived = update_name(order.round_number, update.digest), sets.split(packed.beside)[1]
        with user_code(f"the state of {order.algorithm}"):
            kept = local.state(arrived)
        check_sets(kept, f"the state of {order.algorithm} is in sets")
        local_state.save(name, kept)
        packing.keep(update_name(order.round_number, update.digest), packed)
        answer = self._answer(
            order,
            Status.TIMED_OUT if budget.cut_short else Status.TRAINED,
            reason=self._warnings(order, local, began_anew=local_state.began_anew or packing.began_anew),
            num_examples=result.num_examples,
            num_steps=result.num_steps,
            num_epochs=result.num_epochs,
            metrics=finite({**result.metrics, **local.metrics}),
        )
        self._send(order, update, pieces, say_ready, latest)
        return answer.model_copy(update={"update": update})

    def _warnings(self, order: TrainOrder, local: LocalResult, *, began_anew: bool) -> str:
        """Return what is to be told of an update that counts all the same; that of the algorithm is told once a run."""
        warnings = []
        if began_anew:
            warnings.append("what it kept with its last accepted update was gone: it began anew")
        if local.warning and not order.accepted:
            logger.warning("client %s: %s", self.client_id, local.warning)
            warnings.append(local.warning)
        return "; ".join(warnings)

    def stands_by(self, answer: Answer) -> bool:
        """Say whether an answer still holds: its update, if it has one, is where it was put, or was taken from there.

        It was taken if the answer is still stored. Else the broker has forgotten both.
        """
        return answer.update is None or self.blobs.has(answer.update) or self.is_answered(answer.order_id)

    def evaluate(self, order: EvaluateOrder) -> Answer:
        """Evaluate the order's parameters on the examples that the client holds out."""
        evaluation = self._evaluate(order, self.data.test)
        if problem := evaluation.problem():
            return self._answer(order, Status.FAILED, reason=problem)
        num_examples, metrics = evaluation.num_examples, evaluation.metrics()
        return self._answer(order, Status.EVALUATED, num_examples=num_examples, metrics=metrics)

    def verify(self, order: VerifyOrder) -> Answer:
        """Score another client's update: its accuracy on this client's own training examples.

        They are more than those that the client holds out, and as new to the update's trainer. Where the workload gives
        no accuracy, the order fails.
        """
        evaluation = self._evaluate(order, self.data.train)
        score, accuracy = evaluation.share_right, evaluation.accuracy
        if math.isnan(score):
            given = "none" if accuracy is None else f"{accuracy:g}"
            reason = f"a score needs an accuracy from 0 to 1, and the workload gives {given}"
            return self._answer(order, Status.FAILED, reason=reason)
        return self._answer(order, Status.SCORED, num_examples=evaluation.num_examples, metrics={"score": score})

    def set_parameters(self, order: SetParametersOrder) -> Answer:
        """Keep the order's parameters in the client's folder."""
        self._check_workload(order)
        path = self.folder / MODEL_FILE
        keep(path, order.parameters.digest, lambda: self._fetch(order, order.parameters).arrays)
        logger.info("client %s: the model after round %d is in %s", self.client_id, order.round_number, path)
        return self._answer(order, Status.DONE)

    def disconnect(self, order: DisconnectOrder) -> Answer:
        """Leave the federation; where it is for good, the worker ends within a heartbeat."""
        if order.incarnation != self.incarnation:
            return self._answer(order, Status.DONE, reason="the order is for a former start of this client")
        logger.info("client %s was told to leave: %s", self.client_id, order.message)
        self.leave(order.reconnect_after_s)
        return self._answer(order, Status.DONE)

    def _evaluate(self, order: EvaluateOrder | VerifyOrder, data: Any) -> Evaluation:
        parameters = self._fetch(order, order.parameters).own()
        with user_code("evaluate()"):
            return checked_evaluation(self.workload.evaluate(parameters, data))

    def _time_left_s(self, order: Order) -> float:
        return min(order.timeout_s, order.deadline - self.broker_time())

    def _received(self, order: UpdateOrder, packing: Packing, local_state: LocalState) -> Received:
        """Return what an order refers to."""
        surveyed = order.surveyed if isinstance(order, TrainOrder) else None
        comes_twice = surveyed is not None or isinstance(order, SurveyOrder)
        model = self._fetch(order, order.parameters, "model", packing.unpack, keep=comes_twice)
        beside: dict[str, arrays.Arrays] = {}
        for kind, ref in (("broadcast", order.broadcast), ("surveyed", surveyed)):
            if ref is not None:
                beside |= sets.split(self._fetch(order, ref, kind, packing.unpack, keep=comes_twice).arrays)[1]
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
        if order.waits_for_turn and self.turns is not None:
            say_ready()
            self.turns.wait(update.name, order.run_id, timeout_s=latest - self.broker_time())
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

        return shared(kind, ref.digest, fetch) if keep or is_one_of_many() else fetch()

    def _check_workload(self, order: Order) -> None:
        if order.workload != self.workload_name:
            raise ValueError(
                f"the run trains the workload {order.workload!r}, client {self.client_id} has "
                f"{self.workload_name!r}: set CLIENT_WORKLOAD"
            )

    def _answer(self, order: Order, status: Status, **rest: object) -> Answer:
        return Answer.model_validate(
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


def carry_out(act: Callable[[], Answer], order_id: str, client_id: str) -> Answer:
    """Return what ``act`` answers, with the time it took; whatever it raises becomes an answer that says so.

    An order that comes twice is carried out once and answered as before, as long as the broker remembers the answer.
    """
    recent = _recent_answers.get(order_id)
    if recent is not None and client_id in _clients and find_client(client_id).stands_by(recent):
        return recent
    started = time.monotonic()
    logger.info("order %s: begun", order_id)
    try:
        answer = act()
    except Exception as error:  # the boundary: a client's failure is a value
        logger.exception("client %s failed at order %s", client_id, order_id)
        is_users = isinstance(error, UserCodeError)
        reason = f"{error}{SEE_LOG}" if is_users else f"{type(error).__name__}: {error}"
        answer = Answer(order_id=order_id, client_id=client_id, status=Status.FAILED, reason=reason)
    answer = answer.model_copy(update={"duration_s": round(time.monotonic() - started, 6)})
    logger.info("order %s: %s after %.3f s", order_id, answer.status, answer.duration_s)
    _recent_answers[order_id] = answer
    while len(_recent_answers) > _MAX_RECENT_ANSWERS:
        del _recent_answers[next(iter(_recent_answers))]
    return answer


_MAX_RECENT_ANSWERS = 1000
_recent_answers: dict[str, Answer] = {}
_clients: dict[str, Callable[[], Client]] = {}


def add_client(client: Client) -> None:
    """Make ``client`` one of those that this process serves."""
    add_client_later(client.client_id, lambda: client)


def add_client_later(client_id: str, load: Callable[[], Client]) -> None:
    """Make a client one of those that this process serves; ``load`` returns it whenever it is needed."""
    _clients[client_id] = load


def is_one_of_many() -> bool:
    """Say whether this process serves more than one client."""
    return len(_clients) > 1


def find_client(client_id: str) -> Client:
    """Return the client of this id that this process serves.

    Raises:
        LookupError: If there is none.
    """
    if client_id not in _clients:
        raise LookupError(f"this worker (process {os.getpid()}) doesn't serve client {client_id!r}")
    return _clients[client_id]()


def forget_clients() -> None:
    """Serve no clients any more, and forget what they answered."""
    _clients.clear()
    _recent_answers.clear()
    forget_shared()
