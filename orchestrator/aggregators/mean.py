"""The mean, weighted: stands nobody hostile, and is exact where all are honest.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas: Communication-Efficient Learning of Deep Networks from Decentralized
Data, AISTATS 2017 (https://arxiv.org/abs/1602.05629), Algorithm 1, line 8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from orchestrator.aggregators.aggregator import AggregatorContext, WeightedUpdate
from orchestrator.aggregators.blocks import rounded, sum_block
from tasks.arrays import Array

BLOCK = 2**16
"""Elements that are summed at a time: in float64 they and a copy fit a core's cache."""


def aggregate_mean(updates: Sequence[WeightedUpdate], _context: AggregatorContext) -> dict[str, Array]:
    """Return the weighted mean: see :func:`weighted_mean`. It can't stand hostile updates and isn't asked to."""
    return weighted_mean(updates)


def weighted_mean(updates: Sequence[WeightedUpdate]) -> dict[str, Array]:
    """Return sum_k(w_k x_k) / sum_k(w_k) of every array: McMahan et al. 2017, Algorithm 1, line 8 (n_k/n weights).

    It goes over the updates block by block and one after the other, so that memory stays that of one model however
    many there are, and in the order that they are given, so that one order gives one result to the last bit.

    Sums are taken in float64 and rounded once to the array's own dtype. For float32, float16 and weights below 2**29
    the products are exact, so for K updates the error is at most K * 2**-53 * sum_k(w_k |x_k|) / sum_k(w_k) before
    that rounding: the result is the exact mean, correctly rounded, unless that lies as near to the middle between two
    numbers. Integers are rounded to the nearest, halves to even, and kept within their dtype's range.

    Args:
        updates: At least one; all with the same names, shapes and dtypes. Not changed.

    Returns:
        New arrays, by name.

    Raises:
        ValueError: If there is no update, or the weights don't sum to more than zero.
    """
    total = float(sum(update.weight for update in updates))
    if not 0 < total < math.inf:
        raise ValueError(f"{len(updates)} updates weigh {total} in sum: more than 0 is needed")
    # A power of two changes no digit, and keeps sums of large values from overflowing.
    scale = 2.0 ** -math.frexp(total)[1]
    return {
        name: _mean_array([(update.parameters[name], update.weight * scale) for update in updates], total * scale)
        for name in updates[0].parameters
    }


def _mean_array(weighted: Sequence[tuple[Array, float]], total: float) -> Array:
    first = weighted[0][0]
    result = np.empty(first.shape, first.dtype)
    flat_result = result.reshape(-1)
    flat = [(values.reshape(-1), weight) for values, weight in weighted]
    sums = np.empty(BLOCK)
    scaled = np.empty(BLOCK)
    for start in range(0, flat_result.size, BLOCK):
        block = slice(start, min(start + BLOCK, flat_result.size))
        length = block.stop - start
        sum_block([(values[block], weight) for values, weight in flat], sums[:length], scaled[:length])
        sums[:length] /= total
        flat_result[block] = rounded(sums[:length], result.dtype)
    return result
