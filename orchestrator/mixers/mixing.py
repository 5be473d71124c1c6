"""Taking the means that mixing matrices ask for, part by part, so that memory is that of a part of each update.

There are about as many mixed updates as updates. The caller gives the arrays that they are put into, which may be
memory maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.aggregators import AggregatorContext, WeightedUpdate
from orchestrator.aggregators.blocks import Floats, each_part
from orchestrator.aggregators.combining import medians_of_untrained
from orchestrator.aggregators.kernel import MeanKernel, mean_kernel
from orchestrator.aggregators.mean import LARGE_BYTES, put_part_of_mean, scaled_weights
from orchestrator.mixers.mixer import Mixer, checked
from tasks.arrays import Array, Spec, spec_of
from tasks.cores import num_cores

Room = Callable[[Spec, int], list[dict[str, Array]]]
"""From a spec and a number to so many sets of arrays of that spec, contiguous and yet to be filled."""


def mix(
    updates: Sequence[WeightedUpdate],
    context: AggregatorContext,
    mixers: Sequence[Mixer],
    rng: np.random.Generator,
    room: Room,
) -> tuple[Sequence[WeightedUpdate], AggregatorContext]:
    """Return what an aggregator is given in place of ``updates`` and ``context``; without mixers that is these.

    Args:
        updates: At least one, as an aggregator gets them. Not changed. Arrays that are not contiguous are copied whole.
        context: As an aggregator gets it.
        mixers: The first is given ``updates``, each other one what the one before has left.
        rng: For the mixers that draw.
        room: Gives the arrays for the mixed updates of each mixer.

    Returns:
        Mixed updates that weigh 1 each, with the updates' names, shapes and dtypes; and a context for them. Where a
        mixer leaves fewer than it got, up to ``num_hostile`` of these may be hostile, and no more than a minority is
        asked to be stood: f, or (m - 1) // 2 if that is less.

    Raises:
        TooFewUpdatesError: If a mixer can't stand ``num_hostile`` of the updates that it is given.
        MixingError: If what a mixer returns is no mixing matrix.
    """
    for mixer in mixers:
        matrix = checked(mixer(updates, context, rng), len(updates))
        if len(matrix) < len(updates) and context.num_hostile is not None:
            context = replace(context, num_hostile=min(context.num_hostile, (len(matrix) - 1) // 2))
        updates = _mixed(matrix, updates, context, room)
    return updates, context


def _mixed(
    matrix: Floats, updates: Sequence[WeightedUpdate], context: AggregatorContext, room: Room
) -> list[WeightedUpdate]:
    """Return a mixed update for each row of ``matrix``.

    What isn't trained, integers and running statistics, is in no distance. A client whose floats look honest could
    send anything there, and a mean would carry that into the mixed updates of most. So these arrays aren't mixed: each
    mixed update has the median of all updates' there, which stands a hostile minority.
    """
    names = updates[0].parameters
    trained = [name for name, values in names.items() if context.is_trained(name, values.dtype)]
    medians = medians_of_untrained(updates, context)
    means = room(spec_of({name: names[name] for name in trained}), len(matrix))
    _put_means(matrix, updates, trained, means)
    return [
        WeightedUpdate({name: mean[name] if name in mean else medians[name] for name in names}, 1.0) for mean in means
    ]


def _put_means(
    matrix: Floats, updates: Sequence[WeightedUpdate], names: Iterable[str], means: Sequence[dict[str, Array]]
) -> None:
    """Put the mean for each row of ``matrix`` into its place in ``means``, taken in float64 and rounded once."""
    rows = [_Row.of(row) for row in matrix]
    is_large = sum(values.nbytes for update in updates for values in update.parameters.values()) >= LARGE_BYTES
    with ThreadPoolExecutor(num_cores()) as threads:
        for name in names:
            values = [np.ascontiguousarray(update.parameters[name]).reshape(-1) for update in updates]
            results = [mean[name].reshape(-1) for mean in means]
            _put_arrays(rows, values, results, mean_kernel(values[0].dtype) if is_large else None, threads)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a mixing matrix: the updates that aren't left out, what they weigh, and the sum of that."""

    members: list[int]
    weights: list[float]
    total: float

    @classmethod
    def of(cls, row: Floats) -> _Row:
        """Return a row whose largest weight counts as 1: so the weights of a plain mean are 1 to the last bit."""
        members = np.flatnonzero(row)
        weights, total = scaled_weights((row[members] / row.max()).tolist())
        return cls(members.tolist(), weights, total)


def _put_arrays(
    rows: Sequence[_Row],
    updates: Sequence[Array],
    results: Sequence[Array],
    kernel: MeanKernel | None,
    threads: Executor,
) -> None:
    """Put the mean for each row into its result; all of a part before the next, so that updates are read once."""

    def put_part(part: slice) -> None:
        for row, result in zip(rows, results, strict=True):
            values = [updates[index][part] for index in row.members]
            put_part_of_mean(result[part], values, row.weights, row.total, kernel)

    each_part(put_part, updates[0], threads)
