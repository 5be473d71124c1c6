"""Taking an update in: out of Redis, checked, into the run's folder. It is done once, however often it is asked for."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from algorithms import Algorithm, load_algorithm
from compressors import load_compressor
from orchestrator.records import FilledSlot, SlotRecord
from orchestrator.run_folder import RunFolder, write_record
from orchestrator.unpacking import Unpacking
from orchestrator.uploads import HEADER_SLACK_BYTES, discard_updates
from tasks import arrays, sets
from tasks.arrays import Spec
from tasks.blobs import BlobRef, BlobStore
from tasks.errors import ArraysError, BlobError
from tasks.messages import Answer, Order, Status, SurveyOrder, TrainOrder
from verification.checks import UpdateRejectedError, measure_update

logger = logging.getLogger(__name__)


def take_in(
    folder: RunFolder,
    store: BlobStore,
    round_number: int,
    answer: Answer,
    score: Callable[[SlotRecord], SlotRecord] = lambda record: record,
    exchange: str = TrainOrder.name,
) -> FilledSlot:
    """Move the answer's update into the run's folder and return the record of its slot.

    The record is kept beside the update: asked for again, it is returned as it was.

    Args:
        folder: The run's folder.
        store: Where the update is.
        round_number: The round that is open.
        answer: The client's answer.
        score: From the record of an update that is in the folder to that with the first scores.
        exchange: Kind of the order that is answered.
    """
    updates = folder.updates(round_number, exchange)
    updates.mkdir(parents=True, exist_ok=True)
    record = kept_record(folder, round_number, answer.client_id, exchange)
    if record is None:
        record = _take_in_update(folder, store, round_number, answer, exchange)
        # A task that was sent again may be at it at the same time: then what the first one took is gone from the store.
        is_rejected = record.status is Status.REJECTED
        kept = kept_record(folder, round_number, answer.client_id, exchange) if is_rejected else None
        record = kept or score(record)
        write_record(_record_path(folder, round_number, answer.client_id, exchange), record)
    if answer.update is not None:
        discard_updates(store, [answer.update.name], folder.checkpoint(round_number - 1).stat().st_size)
    return FilledSlot(client_id=answer.client_id, record=record)


def kept_answer(folder: RunFolder, order: Order) -> Answer | None:
    """Return what stands in for the answer to an order whose update has been taken in already, or None."""
    record = kept_record(folder, order.round_number, order.client_id, order.name)
    if record is None:
        return None
    return Answer(
        order_id=order.order_id,
        client_id=order.client_id,
        status=record.status,
        reason=record.reason,
        num_examples=record.num_examples,
        num_steps=record.num_steps,
        metrics=record.metrics,
    )


def forget_record(folder: RunFolder, order: Order) -> None:
    """Have the answer to an order taken in anew."""
    _record_path(folder, order.round_number, order.client_id, order.name).unlink(missing_ok=True)


def update_path(folder: RunFolder, round_number: int, client_id: str, exchange: str = TrainOrder.name) -> Path:
    """File of an update that was taken in."""
    return folder.updates(round_number, exchange) / f"{client_id}.safetensors"


def update_spec(algorithm: Algorithm, model: Spec, exchange: str) -> Spec:
    """Return what an update has to be: the model and the sets that go with it, or those of the first exchange alone."""
    if exchange == SurveyOrder.name:
        return sets.spec_of_sets(model, algorithm.surveyed)
    return sets.spec_with(model, algorithm.sent)


def _take_in_update(
    folder: RunFolder, store: BlobStore, round_number: int, answer: Answer, exchange: str
) -> SlotRecord:
    if answer.update is None:
        return SlotRecord.of(answer)
    path = update_path(folder, round_number, answer.client_id, exchange)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    config, model = folder.config(), folder.checkpoint(round_number - 1)
    parameters = arrays.map_file(model)
    spec = update_spec(load_algorithm(config.algorithm), arrays.spec_of(parameters), exchange)
    compressor = load_compressor(config.compression)
    buffers = folder.buffers()
    unpacking = Unpacking(compressor, parameters, spec, buffers) if compressor else None
    size_bytes = unpacking.size_bytes if unpacking else arrays.encoded_size(spec)
    try:
        _check_size(answer.update, size_bytes + HEADER_SLACK_BYTES)
        store.get_file(answer.update, temporary)
        if unpacking:
            unpacking.unpack(temporary)
        lengths = measure_update(arrays.map_file(temporary), spec, parameters, buffers)
        if answer.num_examples < 1:
            raise UpdateRejectedError("it claims to be trained on no examples")
        if exchange == TrainOrder.name and answer.num_steps < 1:
            raise UpdateRejectedError("it claims to be trained in no steps")
        temporary.replace(path)
    except (BlobError, ArraysError, UpdateRejectedError) as error:
        temporary.unlink(missing_ok=True)
        logger.warning("round %d: the update of client %s is rejected: %s", round_number, answer.client_id, error)
        return SlotRecord.of(answer, Status.REJECTED, str(error))
    return SlotRecord.of(answer).model_copy(update={"lengths": lengths})


def _check_size(ref: BlobRef, max_bytes: int) -> None:
    if ref.size_bytes > max_bytes:
        raise BlobError(f"the update has {ref.size_bytes} bytes, {max_bytes} are allowed for this model")


def kept_record(
    folder: RunFolder, round_number: int, client_id: str, exchange: str = TrainOrder.name
) -> SlotRecord | None:
    """Return the record of a slot that was taken in, or None."""
    try:
        return SlotRecord.model_validate_json(_record_path(folder, round_number, client_id, exchange).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _record_path(folder: RunFolder, round_number: int, client_id: str, exchange: str) -> Path:
    return folder.updates(round_number, exchange) / f"{client_id}.json"
