"""Combinations of updates: means with weights that come from how the updates lie to each other.

A combination is v = x + sum_k c_k (x_k - x), where x is the model that the round started from and x_k an update. How
far it is from every update follows from the dot products of the updates' deltas, a K x K matrix. So an iteration over
combinations reads the updates once for that matrix and once for the result, however many steps it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from orchestrator.aggregators.aggregator import AggregatorContext, WeightedUpdate
from orchestrator.aggregators.blocks import Floats, mean_of_rows, reduce_blocks
from orchestrator.aggregators.median import median_of_rows
from tasks.arrays import Array, Arrays
from tasks.sets import MARK
from verification.geometry import LARGEST


def origin_of(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> Arrays:
    """Return what of the updates is trained as it was when the round started: zeros where the model has none.

    Updates are compared by these arrays alone. Buffers are far longer than what is trained where they measure what is
    far from 1, and differ with the clients' data rather than with their honesty.
    """
    return {
        name: context.origin[name] if name in context.origin or not name.startswith(MARK) else _zeros(values)
        for name, values in updates[0].parameters.items()
        if context.is_trained(name, values.dtype)
    }


def _zeros(like: Array) -> Array:
    """Return zeros that take no memory."""
    return np.broadcast_to(np.zeros((), like.dtype), like.shape)


def distances_from(coefficients: Floats, dots: Floats) -> Floats:
    """Return the distance of every update from the combination with these coefficients: shape (K,).

    |x_k - v|² = c·Dc - 2 (Dc)_k + D_kk, with D the deltas' dot products. What is small beside the deltas themselves is
    lost: distances below 1e-7 of their lengths are anything up to that.
    """
    towards = dots @ coefficients
    squares = coefficients @ towards - 2 * towards + np.diag(dots)
    return np.sqrt(np.maximum(squares, 0.0))


def combine(
    points: Sequence[Arrays], weights: Sequence[float], updates: Sequence[WeightedUpdate], context: AggregatorContext
) -> dict[str, Array]:
    """Return the mean of ``points`` with these weights, taken in float64 and rounded once.

    Elements of float64 beyond ±1e120 count as ±1e120, as they do in the distances that the weights come from. What
    isn't trained is the median of all updates': see :func:`medians_of_untrained`.
    """
    names = updates[0].parameters
    trained = [name for name, values in names.items() if context.is_trained(name, values.dtype)]
    means = reduce_blocks(points, trained, lambda rows: mean_of_rows(within_limits(rows), weights))
    return in_order(names, {**means, **medians_of_untrained(updates, context)})


def medians_of_untrained(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> dict[str, Array]:
    """Return the median of all updates' buffers and arrays of integers and booleans, at each place.

    They are in no distance, so nothing is known of who is hostile there; the median stands as many hostile ones.
    """
    first = updates[0].parameters
    names = [name for name, values in first.items() if not context.is_trained(name, values.dtype)]
    return reduce_blocks([update.parameters for update in updates], names, median_of_rows)


def in_order(names: Iterable[str], arrays: Arrays) -> dict[str, Array]:
    """Return ``arrays`` in the order of ``names``."""
    return {name: arrays[name] for name in names}


def within_limits(rows: Array) -> Array:
    """Return values of which those of float64 are within ±1e120, as geometry has them."""
    return rows if rows.dtype.itemsize < np.dtype(np.float64).itemsize else np.clip(rows, -LARGEST, LARGEST)
