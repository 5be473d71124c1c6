"""Ingesting an update: from the store, decompressed and checked, into the run folder; once, however often asked for."""

from __future__ import annotations

import heapq
import logging
from operator import itemgetter
from pathlib import Path

from celeriac.compressors import Compressor
from celeriac.compressors.updates import packed_spec, unpack_update
from orchestrator.jobs.job import Job
from orchestrator.jobs.verify import score_as_it_comes
from orchestrator.store.records import SlotRecord
from orchestrator.store.updates import HEADER_SLACK_BYTES, discard_updates
from tasks import arrays, results
from tasks.arrays import Spec
from tasks.blobs.blob import BlobRef
from tasks.described import described
from tasks.errors import ArraysError, BlobError
from tasks.files import make_private, replacing
from tasks.messages import Response, Status
from tasks.orders.train import TrainOrder
from verification.checks import UpdateRejectedError, check_update, measure_results, measure_update

logger = logging.getLogger(__name__)


def ingest_response(job: Job, response: Response, exchange: str = TrainOrder.name) -> SlotRecord:
    """Move the answer's update into the run's folder, and return the record of its slot.

    The record is kept beside the update: asked for again, it is returned as it was.

    Args:
        job: The job; its round is open.
        response: The client's answer.
        exchange: Kind of the order that is answered.
    """
    folder, client_id = job.folder, response.client_id
    record = job.record(client_id, exchange)
    if record is None:
        make_private(folder.updates(job.round_number, exchange))
        record = _take_in(job, response, exchange)
        # A task that was sent again may be at it at the same time: then what the first one took is gone from the store.
        kept = job.record(client_id, exchange) if record.status is Status.REJECTED else None
        record = kept or score_as_it_comes(job, client_id, record)
        folder.save_slot(job.round_number, client_id, exchange, record)
    if response.update is not None:
        discard_updates(job.store, [response.update.name], job.model_bytes, results.most_bytes(job.results))
    return record


def _take_in(job: Job, response: Response, exchange: str) -> SlotRecord:
    if response.update is None:
        return SlotRecord.of(response)
    path = job.folder.update(job.round_number, response.client_id, exchange)
    compressor, start = job.compressor, job.start
    spec = job.update_spec(exchange)
    declared = job.results if exchange == TrainOrder.name else {}
    sent = packed_spec(compressor, dict(sorted(spec.items())), job.buffers) if compressor else spec
    try:
        most_header = len(arrays.encode_header(sent)) + HEADER_SLACK_BYTES + results.NAME_BYTES * len(declared)
        _check_size(response.update, most_header + _values_bytes(sent, declared))
        with replacing(path, durable=False) as temporary:
            job.store.get_file(response.update, temporary)
            update, found = results.split(arrays.map_file(temporary, most_header))
            lengths = measure_results(found, declared)
            if compressor:
                check_update(update, sent)
                _decompress(job, compressor, temporary, spec)
                update, _ = results.split(arrays.map_file(temporary))
            lengths |= measure_update(update, spec, start, job.buffers)
            if response.num_examples < 1:
                raise UpdateRejectedError("it claims to be trained on no examples")
            if exchange == TrainOrder.name and response.num_steps < 1:
                raise UpdateRejectedError("it claims to be trained in no steps")
    except (BlobError, ArraysError, UpdateRejectedError) as error:
        logger.warning("round %d: the update of client %s is rejected: %s", job.round_number, response.client_id, error)
        return SlotRecord.of(response, Status.REJECTED, str(error))
    return SlotRecord.of(response).model_copy(update={"lengths": lengths})


def _decompress(job: Job, compressor: Compressor, path: Path, spec: Spec) -> None:
    """Replace the file of a compressed update by the decompressed one, an array at a time; if it fails it stays.

    Its results, which aren't compressed, stay as they are.

    Raises:
        ArraysError, UpdateRejectedError: If it isn't what the compressor makes of an update of this model.
    """
    spec, (compressed, found) = dict(sorted(spec.items())), results.split(arrays.map_file(path))
    beside = results.join({}, found)
    whole = dict(sorted({**spec, **arrays.spec_of(beside)}.items()))
    try:
        with replacing(path, durable=False) as decompressed, decompressed.open("wb") as file:
            file.write(arrays.encode_header(whole))
            unpacked = unpack_update(compressor, compressed, job.model(), spec, job.buffers)
            for name, values in heapq.merge(unpacked, sorted(beside.items()), key=itemgetter(0)):
                entry = whole[name]
                if (values.shape, values.dtype) != (entry.shape, entry.numpy_dtype):
                    raise ArraysError(f"array {name!r} came out as {values.dtype} {values.shape}")
                file.write(values.tobytes())
    except (ArraysError, UpdateRejectedError, OSError):
        raise
    except Exception as error:  # whatever a compressor of the user's own raises
        raise UpdateRejectedError(f"it can't be decompressed: {described(error)}") from error


def _values_bytes(sent: Spec, declared: results.Declared) -> int:
    """Return how long an update may be without its header."""
    return sum(entry.size_bytes for entry in sent.values()) + sum(result.most_bytes for result in declared.values())


def _check_size(ref: BlobRef, max_bytes: int) -> None:
    if ref.size_bytes > max_bytes:
        raise BlobError(f"the update has {ref.size_bytes} bytes, {max_bytes} are allowed for this model")
