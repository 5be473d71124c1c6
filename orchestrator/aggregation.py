"""Aggregation: pure functions from weighted updates to one.

They go over the updates block by block, so that memory stays that of one model however many updates there are, and
in the order they are given, so that one order gives one result to the last bit.
"""

from __future__ import annotations

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

    Sums are taken in float64 and rounded once to the array's own dtype, so for float32 with fewer than 2**29 examples
    a client the result is the exact mean, correctly rounded but for the float64 sum's own rounding (relative error of
    at most (K + 1) * 2**-53 for K updates). Integer arrays are rounded to the nearest, halves to even.

    Args:
        updates: At least one; all with the same names, shapes and dtypes. Not changed.

    Returns:
        New arrays, by name.

    Raises:
        ValueError: If there is no update, or the weights don't sum to more than zero.
    """
    total = float(sum(update.weight for update in updates))
    if not total > 0:
        raise ValueError(f"{len(updates)} updates weigh {total} in sum: more than 0 is needed")
    return {
        name: _mean_array([(update.parameters[name], update.weight) for update in updates], total)
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
        _sum_block([(values[block], weight) for values, weight in flat], sums[:length], scaled[:length])
        sums[:length] /= total
        if flat_result.dtype.kind != "f":
            np.rint(sums[:length], out=sums[:length])
        flat_result[block] = sums[:length]
    return result


def _sum_block(
    weighted: Sequence[tuple[Array, float]], sums: npt.NDArray[np.float64], scaled: npt.NDArray[Any]
) -> None:
    """Put the weighted sum into ``sums``; ``scaled`` is scratch."""
    sums.fill(0.0)
    for values, weight in weighted:
        np.multiply(values, weight, out=scaled, dtype=np.float64, casting="unsafe")
        np.add(sums, scaled, out=sums)
