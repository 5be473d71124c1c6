"""Mixing updates by mixing matrices, part by part: it needs memory for one part of each update.

There are about as many mixed updates as updates. The caller provides the arrays for them, which may be memory maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate
from celeriac.aggregators.blocks import Add, Floats, each_part, scaled_weights
from celeriac.aggregators.combining import medians_of_untrained
from celeriac.aggregators.kernel import adder
from celeriac.aggregators.mean import put_part_of_mean
from celeriac.mixers import Mixer, checked
from tasks.arrays import Array, Spec, spec_of
from tasks.cores import num_cores

Room = Callable[[Spec, int], list[dict[str, Array]]]
"""From a spec and a number to that many dicts of arrays of this spec, contiguous and not yet filled."""


def mix(
    updates: Sequence[WeightedUpdate],
    context: AggregatorContext,
    mixers: Sequence[Mixer],
    rng: np.random.Generator,
    room: Room,
) -> tuple[Sequence[WeightedUpdate], AggregatorContext]:
    """Apply the mixers in turn; without mixers, return ``updates`` and ``context`` unchanged.

    Args:
        updates: At least one, as an aggregator gets them. Not changed. Arrays that are not contiguous are copied whole.
        context: As an aggregator gets it.
        mixers: The first mixes ``updates``, each further one the updates mixed by the one before.
        rng: For random mixers.
        room: Provides the arrays for each mixer's mixed updates.

    Returns:
        Mixed updates that weigh 1 each, with the updates' names, shapes and dtypes; and a context for them. After a
        mixer that returns m updates, fewer than it got, up to f of m may be hostile; ``num_byzantine`` is then f, but
        at most (m - 1) // 2, a minority.

    Raises:
        TooFewUpdatesError: If a mixer can't tolerate ``num_byzantine`` of its updates.
        MixingError: If a mixer doesn't return a mixing matrix.
    """
    for mixer in mixers:
        matrix = checked(mixer(updates, context, rng), len(updates))
        if len(matrix) < len(updates) and context.num_byzantine is not None:
            context = replace(context, num_byzantine=min(context.num_byzantine, (len(matrix) - 1) // 2))
        updates = _mixed(matrix, updates, context, room)
    return updates, context


def _mixed(
    matrix: Floats, updates: Sequence[WeightedUpdate], context: AggregatorContext, room: Room
) -> list[WeightedUpdate]:
    """Return a mixed update for each row of ``matrix``.

    Mixers don't compare arrays that aren't trained (integers and running statistics), so a client with honest-looking
    floats could send anything there, and a mean would carry it into most mixed updates. These arrays aren't mixed: each
    mixed update gets the median of all updates, which tolerates a hostile minority.
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
    """Put the mean for each row of ``matrix``, taken in float64 and rounded once, into the same place in ``means``."""
    rows = [_Row.of(row) for row in matrix]
    num_bytes = sum(values.nbytes for update in updates for values in update.parameters.values())
    with ThreadPoolExecutor(num_cores()) as threads:
        for name in names:
            values = [np.ascontiguousarray(update.parameters[name]).reshape(-1) for update in updates]
            results = [mean[name].reshape(-1) for mean in means]
            _put_arrays(rows, values, results, adder(values[0].dtype, num_bytes), threads)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a mixing matrix: the updates with a weight above 0, their weights, and the sum of these."""

    members: list[int]
    weights: list[float]
    total: float

    @classmethod
    def of(cls, row: Floats) -> _Row:
        """Return the row scaled to a largest weight of 1, so that the weights of a plain mean are exactly equal."""
        members = np.flatnonzero(row)
        weights, total = scaled_weights((row[members] / row.max()).tolist())
        return cls(members.tolist(), weights, total)


def _put_arrays(
    rows: Sequence[_Row], updates: Sequence[Array], results: Sequence[Array], add: Add, threads: Executor
) -> None:
    """Put the mean for each row into its result, all rows of a part before the next part, to read updates once."""

    def put_part(part: slice) -> None:
        for row, result in zip(rows, results, strict=True):
            values = [updates[index][part] for index in row.members]
            put_part_of_mean(result[part], values, row.weights, row.total, add)

    each_part(put_part, updates[0], threads)
