"""The client: its workload and data, and what carrying out any order takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks import arrays
from tasks.blobs.blob import MAX_BLOB_BYTES, BlobRef, BlobStore
from tasks.context import Context, TimeBudget
from tasks.device import resolved
from tasks.errors import UnfitOrderError
from tasks.evaluation import Evaluation
from tasks.messages import Order, Response, StudyOrder
from tasks.run_config import with_defaults
from tasks.user_code import checked_evaluation, user_code
from tasks.workload import ClientData, Part, Workload
from worker.connection import Connection
from worker.local_training import Fetched
from worker.models import Models
from worker.settings import Allowed
from worker.study_state import StudyState


@dataclass(frozen=True, slots=True)
class Client:
    """A client and what it has; the functions of :mod:`worker.handlers` carry its orders out.

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
        device: The device that its workload computes on; ``auto`` for the first that is there.
        memory_bytes: Memory that this process may use: no order comes with more.
        stays: Whether it waits for the next run when one is over.
        lease: The part of a shared data set that a run granted it; None: none did.
        say_ready: Called before the client waits for its turn to send an update, if the order wants it to.
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
    device: str = "cpu"
    memory_bytes: int = MAX_BLOB_BYTES
    stays: bool = False
    lease: Part | None = None
    say_ready: Callable[[], None] = lambda: None

    def stands_by(self, response: Response) -> bool:
        """Say whether an answer still holds: its update, if it has one, is where it was put, or was taken from there.

        It was taken if the answer is still stored. Else the broker has forgotten both.
        """
        return (
            response.update is None or self.blobs.has(response.update) or self.connection.is_answered(response.order_id)
        )

    def check_workload(self, order: Order) -> None:
        """Refuse an order of a run that trains something else."""
        if order.workload != self.workload_name:
            raise UnfitOrderError(
                f"the run trains the workload {order.workload!r}, client {self.client_id} has "
                f"{self.workload_name!r}: set CLIENT_WORKLOAD"
            )

    def check_size(self, order: Order) -> None:
        """Refuse an order that comes with more than can be held here."""
        if order.size_bytes > self.memory_bytes:
            raise UnfitOrderError(
                f"the order comes with {order.size_bytes} bytes, more than client {self.client_id} has memory for"
            )

    def time_left_s(self, order: Order) -> float:
        """Return the seconds that are left for an order."""
        return min(order.timeout_s, order.deadline - self.connection.time())

    def context(
        self,
        order: StudyOrder,
        budget: TimeBudget,
        state: StudyState | None = None,
        results: arrays.Arrays | None = None,
    ) -> Context:
        """Return what the workload's methods are told of an order.

        Args:
            order: The order.
            budget: The time that there is for it.
            state: What the study keeps at the client, where what becomes of it is to be kept too.
            results: What became of the last round's results, where it came with the order.
        """
        return Context(
            client_id=self.client_id,
            round_number=order.round_number,
            num_rounds=order.study.num_rounds,
            cohort_size=order.study.cohort_size,
            options=order.study.options,
            run_config=with_defaults(self.workload.run_config, order.study.run_config),
            seed=order.seed,
            budget=budget,
            device=resolved(self.device),
            results=arrays.copied(results or {}),
            load_state=(state or StudyState(self.folder, order)).load,
        )

    def evaluate(self, order: StudyOrder, data: Any) -> Evaluation:
        """Evaluate an order's parameters on data of the client's own."""
        model = self.fetch(order, order.parameters).own()
        context = self.context(order, TimeBudget(self.time_left_s(order)))
        with user_code("evaluate()"):
            return checked_evaluation(self.workload.evaluate(model, data, context))

    def fetch(
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
        self.check_workload(order)

        def fetch() -> Fetched:
            data = self.blobs.get(ref)
            packed = arrays.decode(data)
            found = unpack(packed)
            if found is packed:
                return Fetched(found, lambda: arrays.decode(self.blobs.own(ref, data)))
            return Fetched(found, lambda: arrays.copied(found))

        return self.models.get(kind, ref.digest, fetch) if keep or self.models.are_shared else fetch()
