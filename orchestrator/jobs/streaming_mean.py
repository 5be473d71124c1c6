"""The weighted mean of a round's updates, added up while others still train; what has been added is let go.

Where a round has so many updates that they come one after the other, keeping them all until the last has come would
take the disk's time, and memory for what is on its way there. So they are added up in the order of their slots, which
is fixed: one round gives one model to the last bit, whatever the order in which its updates come, and the same model as
:func:`celeriac.aggregators.mean.weighted_mean` of all of them.

Sums are float64, in one of two files by turns: an update is added from one to the other, and only then does a third say
that it was. A process that is killed meanwhile leaves things as they were. Where there are more than ``GROUP`` updates,
two more such files have the sum of the groups that are whole.
"""

from __future__ import annotations

import fcntl
import functools
import math
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from celeriac.aggregators.blocks import Add, Floats, each_part, rounded
from celeriac.aggregators.kernel import adder
from celeriac.aggregators.mean import BLOCK, GROUP
from celeriac.algorithms import by_examples, equally
from orchestrator.jobs.disproportion import AT_ONCE, InOrder
from orchestrator.jobs.job import Job
from tasks.arrays import Array, Arrays, Spec, map_file
from tasks.cores import num_cores
from tasks.files import make_private, private, replace_text
from tasks.orders.train import TrainOrder
from verification.checks import own_length

KEPT_BYTES = 10**9
"""Bytes of updates that are kept in files until their round closes: averaged all at once they take less time."""
ZEROS_BYTES = 2**22
"""Zeros that are written to a new file of sums at a time: more than one of the system's large pages."""
SCALE = 2.0**-64
"""What weights are multiplied by, so that sums of the largest numbers don't overflow: no digit is changed."""


def is_streamed(job: Job) -> bool:
    """Say whether the updates of a job's round are large, and added as they come if they come to one place.

    Each is judged by those before it, wherever they are.
    """
    opened = job.opened
    is_large = opened is not None and len(opened.cohort) * opened.parameters.size_bytes > KEPT_BYTES
    return is_large and _is_only_added(job)


def is_spread(job: Job) -> bool:
    """Say whether the updates of a job's round stay where they came, for any own worker to add."""
    return job.opened is not None and job.opened.is_spread and _is_only_added(job)


def _is_only_added(job: Job) -> bool:
    """Say whether nothing but the mean is wanted of the updates of a crowded round.

    No scorer or mixer asks for them again, and what one weighs doesn't depend on others.
    """
    config, opened = job.config, job.opened
    return (
        opened is not None
        and opened.is_crowded
        and config.aggregator == "mean"
        and not config.mix
        and not config.verify
        and not config.cross_site
        and not job.results
        and config.weighting == "examples"
        and job.algorithm.weigh in (by_examples, equally)
    )


def add_next(job: Job, exchange: str = TrainOrder.name, *, all_of_them: bool = False) -> StreamingMean:
    """Add those of the updates of the open round that are next, if they are enough to be worth it; return the mean.

    Args:
        job: The job.
        exchange: Which of the round's exchanges.
        all_of_them: Whether all have come, and are to be added.
    """
    order = job.opened.asked(exchange) if job.opened else []
    record_of = functools.partial(job.record, exchange=exchange)
    own = functools.partial(own_length, model=job.model(), buffers=job.buffers)
    in_order = InOrder(order, record_of, own, is_over=all_of_them)

    def weight(client_id: str) -> float | None:
        record = record_of(client_id)
        if record is None or not record.is_accepted:
            return None if record is None else 0.0
        reasons = in_order.reasons(order.index(client_id))
        if reasons is None or client_id in reasons:
            return None if reasons is None else 0.0
        return float(record.num_examples) if job.algorithm.weigh is by_examples else 1.0

    def recycle(client_ids: Iterable[str]) -> None:
        files = (job.folder.files_of_update(job.round_number, client_id, exchange) for client_id in client_ids)
        job.store.recycle(chain.from_iterable(files))

    streaming = StreamingMean(
        job.folder.sums(job.round_number, exchange),
        job.update_spec(exchange),
        lambda client_id: job.folder.update(job.round_number, client_id, exchange),
        recycle,
    )
    streaming.add(order, weight, all_of_them=all_of_them)
    return streaming


class _State(BaseModel):
    """How far the sum has come: slots that were passed, which file has it, and what the updates in it weigh.

    Of the file with the sum of former groups, likewise which it is.
    """

    model_config = ConfigDict(extra="forbid")

    position: int = 0
    current: int = 0
    total: float = 0.0
    num_added: int = 0
    former: int = 0
    num_former: int = 0

    @property
    def room(self) -> int:
        """How many updates more the current group takes; none if it is whole."""
        return GROUP * (self.num_former + 1) - self.num_added


Weight = Callable[[str], float | None]
"""From a client's id to what its update weighs; 0 if it sent none that counts, None if that isn't known yet."""


class StreamingMean:
    """The mean of the updates of a round that have come so far.

    Args:
        folder: A folder for the sum, made if it isn't there; nothing else may be in it.
        spec: Names, dtypes and shapes of the arrays of an update.
        path_of: From a client's id to its update's file.
        recycle: Does away with the files of clients whose updates were added.
    """

    def __init__(
        self,
        folder: Path,
        spec: Spec,
        path_of: Callable[[str], Path],
        recycle: Callable[[Iterable[str]], None],
    ) -> None:
        make_private(folder)
        self._folder = folder
        self._spec = spec
        self._path_of = path_of
        self._recycle = recycle
        self._size = sum(math.prod(entry.shape) for entry in spec.values())

    def add(self, order: Sequence[str], weight: Weight, *, all_of_them: bool = False) -> None:
        """Add the updates that are next in the order of the slots, where ``AT_ONCE`` have come.

        Args:
            order: Ids of the clients in the order of their slots; it may have grown since it was last given.
            weight: What their updates weigh.
            all_of_them: Whether to add also what is less, and to wait for a process that adds just now; else what that
                doesn't see is added later.
        """
        least = 1 if all_of_them else AT_ONCE
        while self._next(order, weight, least):
            with self._alone(wait=all_of_them) as is_mine:
                if not is_mine:
                    return
                while found := self._next(order, weight, least):
                    self._add(found)

    def mean(self) -> dict[str, Array]:
        """Return the weighted mean of all that was added, each array in its own dtype, rounded once.

        Raises:
            ValueError: If what was added weighs nothing.
        """
        state = self._state()
        total = state.total * SCALE
        if not 0 < total < math.inf:
            raise ValueError(f"{state.num_added} updates weigh {state.total} in sum: more than 0 is needed")
        result = {name: np.empty(entry.shape, entry.numpy_dtype) for name, entry in self._spec.items()}
        names = [f"sums-{state.current}"] + ([f"former-{state.former}"] if state.num_former else [])
        with ExitStack() as files, ThreadPoolExecutor(num_cores()) as threads:
            sums, *former = [files.enter_context(self._sums(name)) for name in names]
            for name, rows in self._rows():
                before = former[0][rows] if former else None
                put_quotients(result[name].reshape(-1), before, sums[rows], total, threads)
        return result

    def _next(self, order: Sequence[str], weight: Weight, least: int) -> list[tuple[str, float]]:
        """Return the slots that are next, ``AT_ONCE`` at the most, as far as their updates have come; or end a group.

        If they are less than ``least``, and end none, none are returned.
        """
        state = self._state()
        room, found = state.room or GROUP, list[tuple[str, float]]()
        for client_id in order[state.position :][:AT_ONCE]:
            value = weight(client_id)
            if value is None:
                break
            found.append((client_id, value))
            room -= value > 0
            if room == 0:
                return found
        return found if len(found) >= least else []

    def _add(self, slots: Sequence[tuple[str, float]]) -> None:
        """Add the updates of the slots that are next."""
        state = self._state()
        found = [(client_id, value) for client_id, value in slots if value]
        if found and not state.room:
            state = self._begin_group(state)
        current = state.current
        if found:
            maps = [map_file(self._path_of(client_id)) for client_id, _ in found]
            self._write_sums(state, list(zip(maps, [value for _, value in found], strict=True)))
            current = 1 - current
        added = _State(
            position=state.position + len(slots),
            current=current,
            total=state.total + sum(value for _, value in found),
            num_added=state.num_added + len(found),
            former=state.former,
            num_former=state.num_former,
        )
        replace_text(self._state_path, added.model_dump_json(), durable=False)
        self._recycle([client_id for client_id, _ in slots])  # also of those that don't count

    def _write_sums(self, state: _State, weighted: Sequence[tuple[Arrays, float]]) -> None:
        """Add updates to the current sums, and put the result into the other file."""
        factors = [value * SCALE for _, value in weighted]
        num_bytes = len(weighted) * sum(entry.size_bytes for entry in self._spec.values())
        with self._sums(f"sums-{state.current}") as old, self._sums(f"sums-{1 - state.current}") as new:
            before = old if state.num_added > GROUP * state.num_former else None
            with ThreadPoolExecutor(num_cores()) as threads:
                for name, rows in self._rows():
                    updates = [update[name].reshape(-1) for update, _ in weighted]
                    add = adder(updates[0].dtype, num_bytes)
                    put_sums(new[rows], before if before is None else before[rows], updates, factors, add, threads)

    def _begin_group(self, state: _State) -> _State:
        """Put the sum of a group that is whole to those of former groups, and return the state in which another begins.

        As long as that isn't noted, it is as if it hadn't been done.
        """
        former, wanted = f"former-{state.former}", f"former-{1 - state.former}"
        with self._sums(f"sums-{state.current}") as sums, self._sums(former) as old, self._sums(wanted) as new:
            for start in range(0, self._size, BLOCK):
                block = slice(start, start + BLOCK)
                np.add(old[block] if state.num_former else 0.0, sums[block], out=new[block])
        return state.model_copy(update={"former": 1 - state.former, "num_former": state.num_former + 1})

    def _rows(self) -> Iterator[tuple[str, slice]]:
        """Yield the name of each array, and where its values are in the sums."""
        start = 0
        for name, entry in self._spec.items():
            size = math.prod(entry.shape)
            yield name, slice(start, start + size)
            start += size

    @contextmanager
    def _sums(self, name: str) -> Iterator[Floats]:
        """Give the sums in a file, as its memory map.

        A new file is filled with zeros, many at a time: so the system keeps it in large pages. In those that it would
        make as single sums are written, all that follows takes several times as long.
        """
        with open(self._folder / name, "a+b", opener=private) as file:
            num_bytes = max(self._size, 1) * np.dtype(np.float64).itemsize
            if os.fstat(file.fileno()).st_size != num_bytes:
                file.truncate(0)
                zeros = memoryview(bytes(ZEROS_BYTES))
                for start in range(0, num_bytes, ZEROS_BYTES):
                    file.write(zeros[: num_bytes - start])
                file.flush()
            yield np.frombuffer(mmap.mmap(file.fileno(), num_bytes), np.float64)

    @contextmanager
    def _alone(self, *, wait: bool) -> Iterator[bool]:
        """Keep others out; give False if another is in, and isn't to be waited for."""
        with open(self._folder / "sums.lock", "wb", opener=private) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True  # closing the file lets others in

    @property
    def _state_path(self) -> Path:
        return self._folder / "sums.json"

    def _state(self) -> _State:
        try:
            return _State.model_validate_json(self._state_path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return _State()


def put_sums(
    sums: Floats,
    before: Floats | None,
    updates: Sequence[Array],
    weights: Sequence[float],
    add: Add,
    threads: Executor,
) -> None:
    """Put before + w_1 x_1 + ... + w_K x_K into ``sums``, added in this order, part by part.

    Args:
        sums: Shape (n,). It may be ``before`` itself.
        before: The sums so far, shape (n,); None for zeros.
        updates: At least one, of shape (n,), contiguous. Not changed.
        weights: One for each update.
        add: Adds them to the sums of a block.
        threads: Threads to add the parts in.
    """

    def put_part(part: slice) -> None:
        for start in range(part.start, part.stop, BLOCK):
            block = slice(start, min(start + BLOCK, part.stop))
            sums[block] = 0.0 if before is None else before[block]
            add([values[block] for values in updates], weights, sums[block])

    each_part(put_part, updates[0], threads)


def put_quotients(result: Array, before: Floats | None, sums: Floats, total: float, threads: Executor) -> None:
    """Put (before + sums) / total, rounded once to the result's dtype, into ``result``, part by part.

    Args:
        result: Shape (n,).
        before: The sum of former groups, shape (n,); None for zeros.
        sums: Shape (n,).
        total: What they weigh.
        threads: Threads to divide the parts in.
    """

    def put_part(part: slice) -> None:
        room = np.empty(min(BLOCK, part.stop - part.start))
        for start in range(part.start, part.stop, BLOCK):
            block = slice(start, min(start + BLOCK, part.stop))
            found = room[: block.stop - start]
            dividend = sums[block] if before is None else np.add(before[block], sums[block], out=found)
            result[block] = rounded(np.divide(dividend, total, out=found), result.dtype)

    each_part(put_part, result, threads)
