"""Aggregation: pure functions from weighted updates to one.

They go over the updates block by block, so that memory stays that of one model however many updates there are, and
in the order they are given, so that one order gives one result to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.arrays import Array, Arrays

BLOCK = 2**16
"""Elements that are summed at a time: in float64 they and a copy fit a core's cache."""


@dataclass(frozen=True, slots=True)
class WeightedUpdate:
    """An update's parameters and how much it weighs; weights need not sum to one."""

    parameters: Arrays
    weight: float


def weighted_mean(updates: Sequence[WeightedUpdate]) -> dict[str, Array]:
    """Return sum_k(w_k x_k) / sum_k(w_k) of every array: McMahan et al. 2017, Algorithm 1, line 8 (n_k/n weights).

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


def move(start: Arrays, end: Arrays, scale: float) -> dict[str, Array]:
    """Return ``start + scale * (end - start)`` of every array, taken in float64 and rounded once.

    Arrays that are not of floats are those of ``end``: counters can't be moved beyond it.
    """
    moved = {}
    for name, target in end.items():
        if target.dtype.kind != "f" or scale == 1.0:
            moved[name] = target
            continue
        origin = start[name].astype(np.float64)
        moved[name] = (origin + scale * (target.astype(np.float64) - origin)).astype(target.dtype)
    return moved


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
        _sum_block([(values[block], weight) for values, weight in flat], sums[:length], scaled[:length])
        sums[:length] /= total
        flat_result[block] = sums[:length] if result.dtype.kind == "f" else _whole(sums[:length], result.dtype)
    return result


def _whole(sums: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    """Return means of integers or booleans in their own dtype."""
    rounded = np.rint(sums)
    if dtype.kind == "b":
        return rounded.astype(dtype)
    limits = np.iinfo(dtype)
    with np.errstate(invalid="ignore"):
        whole = np.clip(rounded, float(limits.min), float(limits.max)).astype(dtype)
    whole[rounded >= float(limits.max)] = limits.max  # which as a float may be one more than the dtype holds
    return whole


def _sum_block(
    weighted: Sequence[tuple[Array, float]], sums: npt.NDArray[np.float64], scaled: npt.NDArray[Any]
) -> None:
    """Put the weighted sum into ``sums``; ``scaled`` is scratch."""
    sums.fill(0.0)
    for values, weight in weighted:
        np.multiply(values, weight, out=scaled, dtype=np.float64, casting="unsafe")
        np.add(sums, scaled, out=sums)
