"""One round, from the selection of its cohort to its line in the history."""

from __future__ import annotations

import json
import logging
import mmap
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.collecting import GRACE_S, Collector
from orchestrator.config import RunConfig
from orchestrator.couriers import Chord
from orchestrator.events import Report, RoundOpened, SlotFilled
from orchestrator.records import ClosedRound, OpenRound, RoundRecord
from orchestrator.run_folder import RunFolder
from orchestrator.slots import Slot, Slots
from orchestrator.taking_in import discard_update, kept_answer
from orchestrator.wire import Wire
from tasks import blobs, names
from tasks.blobs import BlobRef
from tasks.errors import ConfigurationError, RunFailedError
from tasks.messages import Answer, EvaluateOrder, Metrics, Status, TrainOrder, encode
from tasks.seeds import derive_seed

logger = logging.getLogger(__name__)

BLOB_TTL_S = 24 * 3600
OWN_WORK_TIMEOUT_S = 1800.0
"""Seconds that the orchestrator's own workers may take to close a round before the run is given up."""

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RoundContext:
    """What a round needs of the run it belongs to."""

    config: RunConfig
    folder: RunFolder
    wire: Wire
    collector: Collector
    report: Report
    clock: Callable[[], float] = time.monotonic


def publish_model(context: RoundContext, after_round: int) -> BlobRef:
    """Put the model that round ``after_round`` ended with where clients can read it."""
    name = names.global_blob(context.config.run_id, after_round)
    with context.folder.checkpoint(after_round).open("rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return blobs.publish(context.wire.chunks, name, [view], BLOB_TTL_S)


class Round:
    """A round under way.

    Args:
        context: The run's.
        opened: Which round, its cohort, and the model that it starts from.
    """

    def __init__(self, context: RoundContext, opened: OpenRound) -> None:
        self._context = context
        self._opened = opened
        self._orders = [self._order(client_id) for client_id in sorted(opened.cohort)]
        self._slots = Slots(self._orders, opened.cohort)
        self._chords: list[Chord] = []
        self._started = context.clock()

    def send_orders(self) -> None:
        """Put the orders on the clients' queues."""
        self._context.collector.send(names.TRAIN_TASK, self._slots)

    def run(self) -> RoundRecord:
        """Collect the answers, have them aggregated, and return the round's record.

        Raises:
            RunFailedError: If the orchestrator's own workers don't get it done.
        """
        context, opened = self._context, self._opened
        context.report(RoundOpened(opened.round_number, tuple(sorted(opened.cohort))))
        self._open_chord()
        self._fill_what_was_taken_in()
        context.collector.collect(
            names.TRAIN_TASK, self._slots, context.config.timeout_s + GRACE_S, self._fill, refill=self._start_chord_anew
        )
        closed = self._closed()
        blobs.discard(context.wire.chunks, opened.parameters)
        return self._record(closed)

    def forget(self) -> None:
        """Remove what the round has left on the broker."""
        courier, chunks = self._context.wire.courier, self._context.wire.chunks
        task_ids = [order.order_id for order in self._orders] + [chord.body_id for chord in self._chords]
        courier.forget(task_ids, self._chords)
        for order in self._orders:  # of those that came late or were rejected unread
            name = names.update_blob(order.client_id, order.run_id, order.round_number)
            discard_update(chunks, name, self._opened.parameters.size_bytes)

    def _order(self, client_id: str) -> TrainOrder:
        config, opened = self._context.config, self._opened
        return TrainOrder(
            order_id=names.order_id(client_id, config.run_id, opened.round_number, "train"),
            run_id=config.run_id,
            client_id=client_id,
            round_number=opened.round_number,
            workload=config.workload,
            timeout_s=config.timeout_s,
            parameters=opened.parameters,
            options=config.options,
            seed=derive_seed(config.seed, opened.round_number, client_id),
        )

    def _fill_what_was_taken_in(self) -> None:
        """Fill the slots of a round that is taken up again with what was taken in before."""
        for slot in self._slots.open():
            answer = kept_answer(self._context.folder, slot.order)
            if answer is not None and self._slots.fill(slot.order.order_id, answer):
                self._fill(slot, answer)

    def _open_chord(self) -> None:
        config, opened = self._context.config, self._opened
        chord = Chord(
            group_id=f"{config.run_id}/{opened.round_number}/{secrets.token_hex(4)}",
            body_task=names.CLOSE_ROUND_TASK,
            body_kwargs={"run_dir": str(self._context.folder.path), "round_number": opened.round_number},
        )
        self._chords.append(chord)
        self._context.wire.courier.open_chord(chord, len(self._slots))

    def _start_chord_anew(self) -> None:
        """Do again what a worker of the orchestrator's may have lost; taking in is done once all the same."""
        logger.warning("round %d: its chord is started anew", self._opened.round_number)
        self._open_chord()
        for slot, answer in self._slots.filled():
            self._fill_chord(slot, answer)

    def _fill(self, slot: Slot, answer: Answer) -> None:
        if answer.status is not Status.TRAINED:
            logger.warning(
                "round %d: client %s: %s: %s",
                self._opened.round_number,
                answer.client_id,
                answer.status.value,
                answer.reason,
            )
        self._fill_chord(slot, answer)
        self._context.report(
            SlotFilled(self._opened.round_number, answer.client_id, answer.status, answer.reason, dict(answer.metrics))
        )

    def _fill_chord(self, slot: Slot, answer: Answer) -> None:
        kwargs = {
            "run_dir": str(self._context.folder.path),
            "round_number": self._opened.round_number,
            "answer": encode(answer),
        }
        self._context.wire.courier.fill(self._chords[-1], slot.index, names.INGEST_TASK, kwargs)

    def _closed(self) -> ClosedRound:
        def again() -> str:
            self._start_chord_anew()
            return self._chords[-1].body_id

        raw = self._context.collector.result(self._chords[-1].body_id, OWN_WORK_TIMEOUT_S, again)
        return own_result(raw, ClosedRound, f"round {self._opened.round_number} could not be closed")

    def _record(self, closed: ClosedRound) -> RoundRecord:
        context, opened = self._context, self._opened
        return RoundRecord(
            round_number=opened.round_number,
            status=closed.status,
            reason=closed.reason,
            cohort=sorted(opened.cohort),
            answers=closed.answers,
            metrics=closed.metrics,
            checkpoint=context.folder.checkpoint(opened.round_number).name,
            digest=closed.digest,
            started_at=opened.started_at,
            duration_s=round(context.clock() - self._started, 6),
            bytes_down=opened.parameters.size_bytes * len(opened.cohort),
            bytes_up=sum(answer.size_bytes for answer in closed.answers.values()),
        )


def evaluate_at_clients(
    context: RoundContext, parameters: BlobRef, round_number: int, incarnations: Mapping[str, str]
) -> Metrics:
    """Have clients evaluate a model on their own held-out data; return the means weighted by examples.

    Clients that fail or vanish are left out; with none, the result is empty.
    """
    config = context.config
    orders = [
        EvaluateOrder(
            order_id=names.order_id(client_id, config.run_id, round_number, "evaluate"),
            run_id=config.run_id,
            client_id=client_id,
            round_number=round_number,
            workload=config.workload,
            timeout_s=config.timeout_s,
            parameters=parameters,
        )
        for client_id in sorted(incarnations)
    ]
    slots = Slots(orders, incarnations)
    context.collector.send(names.EVALUATE_TASK, slots)
    context.collector.collect(names.EVALUATE_TASK, slots, config.timeout_s + GRACE_S)
    context.wire.courier.forget([order.order_id for order in orders])
    return mean_metrics([answer for _, answer in slots.filled() if answer.status is Status.EVALUATED])


def mean_metrics(answers: Sequence[Answer]) -> Metrics:
    """Return sum_k(n_k m_k) / sum_k(n_k) of each metric that all the answers have, n_k being their examples."""
    total = sum(answer.num_examples for answer in answers)
    if total == 0:
        return {}
    shared = set.intersection(*(set(answer.metrics) for answer in answers))
    return {
        name: sum(answer.num_examples * answer.metrics[name] for answer in answers) / total for name in sorted(shared)
    }


def open_record(round_number: int, cohort: Mapping[str, str], parameters: BlobRef) -> OpenRound:
    """Return the record of a round that opens now."""
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return OpenRound(round_number=round_number, cohort=dict(cohort), parameters=parameters, started_at=started_at)


def own_result(raw: bytes | str | None, kind: type[T], what: str) -> T:
    """Return what a task of the orchestrator's own returned; ``raw`` is None if it didn't in time.

    Raises:
        ConfigurationError: If the task found the input wrong.
        RunFailedError: If it failed otherwise, or didn't end in time.
    """
    if raw is None:
        raise RunFailedError(f"{what}: the orchestrator's own worker didn't answer within {OWN_WORK_TIMEOUT_S:g} s")
    document = json.loads(raw)
    result = document.get("result")
    if document.get("status") != "SUCCESS":
        raise RunFailedError(f"{what}: {result}")
    if isinstance(result, dict) and "error" in result:
        if result.get("exit_code") == ConfigurationError.exit_code:
            raise ConfigurationError(str(result["error"]))
        raise RunFailedError(f"{what}: {result['error']}")
    try:
        return kind.model_validate(result)
    except ValidationError as error:
        raise RunFailedError(f"{what}: {error}") from None
