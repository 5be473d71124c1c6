"""Combinations of updates: means with weights that come from how the updates lie to each other.

A combination is v = x + sum_k c_k (x_k - x), where x is the model that the round started from and x_k an update. How
far it is from every update follows from the dot products of the updates' deltas, a K x K matrix. So an iteration over
combinations reads the updates once for that matrix and once for the result, however many steps it takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.aggregators.aggregator import AggregatorContext, WeightedUpdate
from orchestrator.aggregators.blocks import Floats, mean_of_rows, reduce_blocks
from orchestrator.aggregators.median import median_of_rows
from tasks.arrays import Array, Arrays
from verification.geometry import LARGEST


def origin_of(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> Arrays:
    """Return the model that the round started from with all names of the updates: zeros where it has none."""
    return {
        name: context.origin[name] if name in context.origin or not name.startswith("@") else _zeros(values)
        for name, values in updates[0].parameters.items()
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


def combine(points: Sequence[Arrays], weights: Sequence[float], updates: Sequence[WeightedUpdate]) -> dict[str, Array]:
    """Return the mean of ``points`` with these weights, taken in float64 and rounded once.

    Elements of float64 beyond ±1e120 count as ±1e120, as they do in the distances that the weights come from.

    Arrays of integers and booleans are in no distance, so nothing is known of who is hostile there: they are the
    median of all updates', which stands as many hostile ones.
    """
    names = updates[0].parameters
    trained = [name for name, values in names.items() if values.dtype.kind == "f"]
    counters = [name for name in names if name not in set(trained)]
    means = reduce_blocks(points, trained, lambda rows: mean_of_rows(_within_limits(rows), weights))
    medians = reduce_blocks([update.parameters for update in updates], counters, median_of_rows)
    return {name: means[name] if name in means else medians[name] for name in names}


def _within_limits(rows: Array) -> Array:
    return rows if rows.dtype.itemsize < np.dtype(np.float64).itemsize else np.clip(rows, -LARGEST, LARGEST)
