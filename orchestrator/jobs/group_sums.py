"""The mean of updates that are in no folder: each own worker, wherever it is, takes the sums of groups of them.

The groups are those of :func:`celeriac.aggregators.mean.weighted_mean`, so the result is the same to the last bit. A
sum is a blob by the name of its run, round and group: it may be taken twice. Who closes the round has others begin with
the first groups, takes the last that nobody has, one after the other, and waits for none of them.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from celeriac.aggregators.blocks import Floats
from celeriac.aggregators.kernel import adder
from celeriac.aggregators.mean import BLOCK, GROUP
from orchestrator.jobs.disproportion import AT_ONCE
from orchestrator.jobs.elsewhere import Place, job_at, published, withdraw
from orchestrator.jobs.ingest import Taking
from orchestrator.jobs.job import Job, Loaded
from orchestrator.jobs.scratch import scratch_arrays
from orchestrator.jobs.streaming_mean import SCALE, is_streamed, put_quotients, put_sums
from orchestrator.store.records import SlotRecord
from orchestrator.transport.sending import Call
from tasks import arrays, names
from tasks.arrays import Array, Arrays, ArraySpec, Spec
from tasks.blobs import blob
from tasks.blobs.blob import BlobRef
from tasks.cores import num_cores
from tasks.digests import Digest
from tasks.errors import ArraysError, BlobError, BlobMissingError
from tasks.files import make_private
from tasks.orders.survey import SurveyOrder
from tasks.scope import ClientScope, RunScope, part_id
from verification.checks import UpdateRejectedError


class UpdatesLostError(ValueError):
    """Raised when updates that were looked at, and counted, aren't where they came any more, or are others.

    Attributes:
        reasons: Client id -> why its update can't be added.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(f"the updates of {', '.join(reasons)} can't be added")
        self.reasons = reasons


class Member(BaseModel):
    """An update of a group, and what it weighs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    client_id: str
    update: BlobRef
    weight: float


class Group(BaseModel):
    """Updates that are summed by themselves, in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchange: str
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """What tells it from others of its round."""
        digest = Digest()
        digest.update(self.model_dump_json().encode())
        return digest.hexdigest()[:32]


class Summed(BaseModel):
    """Where a group's sum is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sums: BlobRef


def sum_group(job: Job, group: Group) -> Summed:
    """Put the weighted sum of a group's updates into the store, in float64.

    Raises:
        UpdatesLostError: If there are some that can't be added.
    """
    name = RunScope(job.config.run_id).group_sum(job.round_number, group.name)
    return Summed(sums=blob.publish(job.store, name, arrays.encode(_sum(job, group))))


def _sum(job: Job, group: Group) -> dict[str, Array]:
    """Return the weighted sum of a group's updates; see :func:`sum_group`."""
    lost = dict[str, str]()
    [sums] = scratch_arrays(job.folder.path, _spec_of_sums(job, group.exchange), 1)
    with _own_folder(job) as folder:
        taking = Taking(job, group.exchange, folder)
        for start in range(0, len(group.members), AT_ONCE):
            members = group.members[start : start + AT_ONCE]
            updates = [_fetched(taking, member, lost) for member in members]
            if not lost:
                _add(sums, updates, [member.weight * SCALE for member in members], is_first=start == 0)
            for member in members:
                taking.drop(member.client_id)
    if lost:
        raise UpdatesLostError(lost)
    return sums


def sum_anywhere(place: Place, group: Group, loaded: Loaded) -> Summed | None:
    """Take a group's sum where the run's folder isn't at hand; None if nobody wants it any more.

    The small files go before the sums do: whoever finds them after he has put a sum there leaves it to be taken away.
    """
    store = loaded.store_at(place.store)
    name = RunScope(place.run_id).group_sum(place.round_number, group.name)
    if store.num_bytes(name, 1) or not store.has(place.files):
        return None
    summed = sum_group(job_at(place, loaded), group)
    if not store.has(place.files):
        store.discard([name], summed.sums.size_bytes)
        return None
    return summed


def _fetched(taking: Taking, member: Member, lost: dict[str, str]) -> Arrays:
    """Return a member's update; none, and note why, if it can't be had."""
    try:
        return taking.fetch(member.update, member.client_id)[0]
    except (BlobError, ArraysError, UpdateRejectedError) as error:
        lost[member.client_id] = f"it was taken in, and then: {error}"
        return {}


def _add(sums: Mapping[str, Array], updates: Sequence[Arrays], weights: Sequence[float], *, is_first: bool) -> None:
    num_bytes = sum(values.nbytes for update in updates for values in update.values())
    with ThreadPoolExecutor(num_cores()) as threads:
        for name, values in sums.items():
            flat = values.reshape(-1)
            of_name = [update[name].reshape(-1) for update in updates]
            put_sums(flat, None if is_first else flat, of_name, weights, adder(of_name[0].dtype, num_bytes), threads)


def mean_of_groups(job: Job, exchange: str, weights: Mapping[str, float]) -> dict[str, Array]:
    """Return the weighted mean of the updates that count, wherever they are summed.

    Args:
        job: A job where the run's folder is.
        exchange: Which of the round's exchanges.
        weights: What the updates weigh, by client id, sorted.

    Raises:
        UpdatesLostError: If there are some that can't be added.
        ValueError: If they weigh nothing.
    """
    total = sum(weights.values()) * SCALE
    if not 0 < total < math.inf:
        raise ValueError(f"{len(weights)} updates weigh {sum(weights.values())} in sum: more than 0 is needed")
    groups = _groups(job, exchange, weights)
    sums = _sums(job, groups)
    spec, [added] = job.update_spec(exchange), scratch_arrays(job.folder.path, _spec_of_sums(job, exchange), 1)
    with _own_folder(job) as folder:
        for index, (group, each) in enumerate(zip(groups, sums, strict=True)):
            _add_sums(added, _taken(job, group, each, folder / "sums.safetensors"), is_first=index == 0)
    withdraw(job)
    job.store.discard([each.sums.name for each in sums], sums[0].sums.size_bytes)
    result = {name: np.empty(entry.shape, entry.numpy_dtype) for name, entry in spec.items()}
    with ThreadPoolExecutor(num_cores()) as threads:
        for name, values in result.items():
            put_quotients(values.reshape(-1), None, added[name].reshape(-1), total, threads)
    return result


def _groups(job: Job, exchange: str, weights: Mapping[str, float]) -> list[Group]:
    """Return the groups of the updates that count, in the order in which they are added in one place."""
    in_order = job.opened.asked(exchange) if job.opened and is_streamed(job) else list(weights)
    records = job.records(exchange)
    members = [
        Member(client_id=name, update=_update(job, exchange, name, records[name]), weight=weights[name])
        for name in in_order
        if name in weights
    ]
    parts = [members[start : start + GROUP] for start in range(0, len(members), GROUP)]
    return [Group(exchange=exchange, members=tuple(part)) for part in parts]


def _update(job: Job, exchange: str, client_id: str, record: SlotRecord) -> BlobRef:
    client = ClientScope(client_id)
    name_in = client.survey if exchange == SurveyOrder.name else client.update
    name = name_in(job.config.run_id, job.round_number)
    return BlobRef(name=name, size_bytes=record.size_bytes, digest=record.digest)


def _sums(job: Job, groups: Sequence[Group]) -> list[Summed]:
    """Return where the groups' sums are, when all are there."""
    found, lost, left, task_ids = dict[int, Summed](), dict[str, str](), set(range(len(groups))), _asked(job, groups)
    while left:
        job.check_open()
        found |= _told(job, {index: task_ids[index] for index in left & task_ids.keys()})
        left -= found.keys()
        if left:
            left.remove(last := max(left))
            try:
                found[last] = sum_group(job, groups[last])
            except UpdatesLostError as error:
                lost |= error.reasons
    if job.loaded.crew is not None:
        job.loaded.crew.forget(list(task_ids.values()))
    if lost:
        raise UpdatesLostError(lost)
    return [found[index] for index in range(len(groups))]


def _asked(job: Job, groups: Sequence[Group]) -> dict[int, str]:
    """Have own workers take the groups' sums, and return by which tasks; a single group is nobody else's."""
    if job.loaded.crew is None or len(groups) < 2:
        return {}
    place, scope = published(job).model_dump(mode="json"), RunScope(job.config.run_id)
    chord_id = scope.new_chord_id(job.round_number)
    calls = [
        Call(
            names.SUM_GROUP_TASK,
            part_id(chord_id, index),
            scope.anywhere_queue,
            kwargs={"place": place, "group": group.model_dump(mode="json")},
        )
        for index, group in enumerate(groups)
    ]
    job.loaded.crew.send(calls)
    return {index: call.task_id for index, call in enumerate(calls)}


def _told(job: Job, task_ids: Mapping[int, str]) -> dict[int, Summed]:
    """Return what others have said of their sums; who couldn't take one has said so, and it is left to this process."""
    if job.loaded.crew is None:
        return {}
    returned = job.loaded.crew.returned(list(task_ids.values()))
    said = {index: returned.get(task_id) for index, task_id in task_ids.items()}
    return {index: Summed.model_validate(each) for index, each in said.items() if each}


def _taken(job: Job, group: Group, summed: Summed, path: Path) -> Arrays:
    """Return a group's sums, as ``path``; taken anew if another process that closes the round has removed them."""
    try:
        job.store.take_file(summed.sums, path)
    except BlobMissingError:
        return _sum(job, group)
    return arrays.map_file(path)


def _add_sums(added: Mapping[str, Floats], sums: Arrays, *, is_first: bool) -> None:
    """Add a group's sums, or put the first there."""
    for name, values in sums.items():
        former, new = added[name].reshape(-1), values.reshape(-1)
        for start in range(0, new.size, BLOCK):
            block = slice(start, start + BLOCK)
            np.add(0.0 if is_first else former[block], new[block], out=former[block])


@contextmanager
def _own_folder(job: Job) -> Iterator[Path]:
    """Give a folder for this process alone: another may be closing the same round, or taking in its updates.

    If the process is killed, it goes with what was taken in.
    """
    updates = job.folder.path / "updates"
    make_private(updates)
    with tempfile.TemporaryDirectory(prefix="sums-", dir=updates) as folder:
        yield Path(folder)


def _spec_of_sums(job: Job, exchange: str) -> Spec:
    return {name: ArraySpec("F64", entry.shape) for name, entry in job.update_spec(exchange).items()}
