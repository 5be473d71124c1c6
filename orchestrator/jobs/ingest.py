"""Ingesting updates: from the store, decompressed and checked, into the run folder; once, however often asked for."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from celeriac.compressors import Compressor
from celeriac.compressors.updates import packed_spec, unpack_update
from orchestrator.jobs.job import Job
from orchestrator.jobs.streaming_mean import is_spread
from orchestrator.jobs.verify import score_as_it_comes
from orchestrator.store.records import SlotRecord
from orchestrator.store.updates import HEADER_SLACK_BYTES, discard_updates
from tasks import arrays, results
from tasks.arrays import Arrays, Spec
from tasks.blobs.blob import BlobRef
from tasks.described import described
from tasks.digests import digest_of_file
from tasks.errors import ArraysError, BlobError, BlobMissingError
from tasks.files import make_private, private, replacing
from tasks.messages import Response, Status
from tasks.orders.train import TrainOrder
from verification.checks import UpdateRejectedError, check_update, measure_results, measure_update

logger = logging.getLogger(__name__)


def ingest_responses(job: Job, responses: Sequence[Response], exchange: str = TrainOrder.name) -> dict[str, SlotRecord]:
    """Move answers' updates into the run's folder, and return the records of their slots by client id.

    The records are kept beside the updates: asked for again, they are returned as they were. In a round that is spread
    the updates are looked at, and stay where they came.

    Args:
        job: The job; its round is open.
        responses: The clients' answers.
        exchange: Kind of the orders that are answered.
    """
    slots, taking = job.slots(exchange), Taking(job, exchange)
    known = {each.client_id: record for each in responses if (record := slots.get(each.client_id)) is not None}
    found = {each.client_id: taking.take_in(each) for each in responses if each.client_id not in known}
    # A task that was sent again may be at it at the same time: then what the first one took is gone from the store.
    records = {**known, **note_records(job, found, exchange)}
    taking.clear_up(responses, records)
    return records


def note_records(job: Job, records: Mapping[str, SlotRecord], exchange: str) -> dict[str, SlotRecord]:
    """Note the records of slots that have none, by client id, and return all that count then."""
    kept = job.slots(exchange).add(records)
    for client_id, record in kept.items():
        if record.status is Status.REJECTED and record.size_bytes:
            told = job.round_number, client_id, record.reason
            logger.warning("round %d: the update of client %s is rejected: %s", *told)
    return kept


def with_new_updates(job: Job, responses: Sequence[Response], exchange: str) -> list[Response]:
    """Return those of the answers whose updates haven't been taken in."""
    slots = job.slots(exchange)
    return [each for each in responses if each.update is not None and slots.get(each.client_id) is None]


class Taking:
    """Taking in what came in one exchange of a round; what an update must be is found out once.

    Args:
        job: The job.
        exchange: The exchange.
        folder: Where the files of updates are made; None for where the run's folder has those of the exchange.
    """

    def __init__(self, job: Job, exchange: str, folder: Path | None = None) -> None:
        self._job = job
        self._exchange = exchange
        self._folder = folder or job.folder.updates(job.round_number, exchange)
        make_private(self._folder)

    def _path(self, client_id: str) -> Path:
        return self._folder / self._job.folder.update(self._job.round_number, client_id).name

    def _packed_path(self, client_id: str) -> Path:
        return self._folder / self._job.folder.packed_update(self._job.round_number, client_id).name

    @cached_property
    def _spec(self) -> Spec:
        """What an update is."""
        return self._job.update_spec(self._exchange)

    @cached_property
    def _sent(self) -> Spec:
        """What it is on its way."""
        if not (compressor := self._job.compressor):
            return self._spec
        return packed_spec(compressor, dict(sorted(self._spec.items())), self._job.buffers)

    @cached_property
    def _declared(self) -> results.Declared:
        return self._job.results if self._exchange == TrainOrder.name else {}

    @cached_property
    def _most_header(self) -> int:
        """Bytes that its header may have."""
        return len(arrays.encode_header(self._sent)) + HEADER_SLACK_BYTES + results.NAME_BYTES * len(self._declared)

    @cached_property
    def _most_bytes(self) -> int:
        """Bytes that it may have."""
        values = sum(entry.size_bytes for entry in self._sent.values())
        return self._most_header + values + sum(result.most_bytes for result in self._declared.values())

    def take_in(self, response: Response) -> SlotRecord:
        """Take an answer in, and return the record of its slot.

        Raises:
            StoreAwayError: If the store stays away: that is no client's fault.
        """
        if response.update is None:
            return SlotRecord.of(response)
        try:
            lengths = self._take_update(response.update, response.client_id)
            if response.num_examples < 1:
                raise UpdateRejectedError("it claims to be trained on no examples")
            if self._exchange == TrainOrder.name and response.num_steps < 1:
                raise UpdateRejectedError("it claims to be trained in no steps")
        except (BlobError, ArraysError, UpdateRejectedError) as error:
            return SlotRecord.of(response, Status.REJECTED, str(error))
        except FileNotFoundError:  # another process has just cleared up, and has kept the record
            return SlotRecord.of(response, Status.REJECTED, "its file is gone")
        record = SlotRecord.of(response).model_copy(update={"lengths": lengths})
        return score_as_it_comes(self._job, response.client_id, record)

    def clear_up(self, responses: Sequence[Response], records: dict[str, SlotRecord]) -> None:
        """Remove what is left of updates that were taken in, as their records say, or rejected."""
        job = self._job
        names = {response.client_id: response.update.name for response in responses if response.update is not None}
        for client_id in names:
            if is_spread(job) or records[client_id].status is Status.REJECTED:
                self._path(client_id).unlink(missing_ok=True)
                self._packed_path(client_id).unlink(missing_ok=True)
        if is_spread(job):
            return
        discard_updates(job.store, names.values(), job.model_bytes, results.most_bytes(job.results))

    def _take_update(self, ref: BlobRef, client_id: str) -> dict[str, float]:
        """Make a file of an update, and return its lengths by part.

        Raises:
            BlobError, ArraysError, UpdateRejectedError: If it isn't there, or isn't what an update must be.
        """
        update, lengths = self.fetch(ref, client_id)
        return lengths | measure_update(update, self._spec, self._job.start, self._job.buffers)

    def fetch(self, ref: BlobRef, client_id: str) -> tuple[Arrays, dict[str, float]]:
        """Make a file of an update, decompressed, and return it mapped, without its results, and their lengths.

        Raises:
            BlobError, ArraysError, UpdateRejectedError: If it isn't there, can't be decompressed, or has other results.
        """
        job, path = self._job, self._path(client_id)
        taken = self._packed_path(client_id) if job.compressor else path
        if ref.size_bytes > self._most_bytes:
            raise BlobError(f"the update has {ref.size_bytes} bytes, {self._most_bytes} are allowed for this model")
        self._fetch(ref, taken)
        update, found = results.split(arrays.map_file(taken, self._most_header))
        lengths = measure_results(found, self._declared)
        if job.compressor:
            check_update(update, self._sent)
            self._decompress(job.compressor, update, found, path)
            update, _ = results.split(arrays.map_file(path))
        return update, lengths

    def drop(self, client_id: str) -> None:
        """Remove what was fetched of a client."""
        self._path(client_id).unlink(missing_ok=True)
        self._packed_path(client_id).unlink(missing_ok=True)

    def _fetch(self, ref: BlobRef, path: Path) -> None:
        """Take a blob from the store; if there is none, a task before this one may have taken it."""
        try:
            self._job.store.take_file(ref, path)
        except BlobMissingError:
            if not path.exists() or digest_of_file(path) != ref.digest:
                raise

    def _decompress(self, compressor: Compressor, compressed: Arrays, found: Arrays, path: Path) -> None:
        """Write the file of a decompressed update, an array at a time; its results, which aren't compressed, stay.

        Raises:
            ArraysError, UpdateRejectedError: If it isn't what the compressor makes of an update of this model.
        """
        job, spec = self._job, dict(sorted(self._spec.items()))
        beside = results.join({}, found)
        whole = dict(sorted({**spec, **arrays.spec_of(beside)}.items()))
        try:
            with replacing(path, durable=False) as made, self._opened(made, arrays.encoded_size(whole)) as file:
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

    def _opened(self, path: Path, size_bytes: int) -> BinaryIO:
        """Open a file to write so many bytes to, over one that nobody needs if there is one."""
        return open(path, "r+b" if self._job.store.take_spare(path, size_bytes) else "wb", opener=private)
