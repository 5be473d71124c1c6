"""Combinations of updates: means with weights that depend on the updates' distances.

A combination is v = x + sum_k c_k (x_k - x), where x is the model that the round started from and x_k an update. Its
distance from every update follows from the dot products of the updates' deltas, a K x K matrix. So an iteration over
combinations reads the updates once for this matrix and once for the result, however many steps it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate
from celeriac.aggregators.blocks import Floats, mean_of_rows, reduce_blocks
from celeriac.aggregators.median import median_of_rows
from celeriac.geometry import LARGEST
from tasks.arrays import Array, Arrays
from tasks.auxiliary import MARK


def origin_of(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> Arrays:
    """Return the starting values of the updates' trained arrays: the round's model, and zeros for sets that it lacks.

    Aggregators compare updates by these arrays alone. Buffers may be far longer than trained arrays, if the values that
    they measure are far from 1, and they differ with the clients' data rather than their honesty.
    """
    return {
        name: context.origin[name] if name in context.origin or not name.startswith(MARK) else _zeros(values)
        for name, values in updates[0].parameters.items()
        if context.is_trained(name, values.dtype)
    }


def _zeros(like: Array) -> Array:
    """Return zeros of an array's shape and dtype that take no memory."""
    return np.broadcast_to(np.zeros((), like.dtype), like.shape)


def distances_from(coefficients: Floats, dots: Floats) -> Floats:
    """Return the distance of every update from the combination with these coefficients: shape (K,).

    |x_k - v|² = c·Dc - 2 (Dc)_k + D_kk, with D the deltas' dot products. The rounding error is up to 1e-7 of the
    deltas' lengths, so shorter distances are meaningless.
    """
    towards = dots @ coefficients
    squares = coefficients @ towards - 2 * towards + np.diag(dots)
    return np.sqrt(np.maximum(squares, 0.0))


def combine(
    points: Sequence[Arrays], weights: Sequence[float], updates: Sequence[WeightedUpdate], context: AggregatorContext
) -> dict[str, Array]:
    """Return the mean of ``points`` with these weights, taken in float64 and rounded once.

    float64 elements beyond ±1e120 count as ±1e120, as they do in the distances. Arrays that aren't trained get the
    median of all updates: see :func:`medians_of_untrained`.
    """
    names = updates[0].parameters
    trained = [name for name, values in names.items() if context.is_trained(name, values.dtype)]
    means = reduce_blocks(points, trained, lambda rows: mean_of_rows(within_limits(rows), weights))
    return in_order(names, {**means, **medians_of_untrained(updates, context)})


def medians_of_untrained(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> dict[str, Array]:
    """Return the median of all updates at each place of buffers and of arrays of integers and booleans.

    Distances don't cover these arrays, so they can't show which updates are hostile there; the median tolerates a
    hostile minority.
    """
    first = updates[0].parameters
    names = [name for name, values in first.items() if not context.is_trained(name, values.dtype)]
    return reduce_blocks([update.parameters for update in updates], names, median_of_rows)


def in_order(names: Iterable[str], arrays: Arrays) -> dict[str, Array]:
    """Return ``arrays`` in the order of ``names``."""
    return {name: arrays[name] for name in names}


def within_limits(rows: Array) -> Array:
    """Return values, float64 ones clipped to ±1e120, as :mod:`celeriac.geometry` does."""
    return rows if rows.dtype.itemsize < np.dtype(np.float64).itemsize else np.clip(rows, -LARGEST, LARGEST)
