"""The weighted mean: exact, but it tolerates no hostile update.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas: Communication-Efficient Learning of Deep Networks from Decentralized
Data, AISTATS 2017 (https://arxiv.org/abs/1602.05629), Algorithm 1, line 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate
from celeriac.aggregators.blocks import Add, Floats, each_part, rounded, scaled_weights
from celeriac.aggregators.kernel import adder
from tasks.arrays import Array
from tasks.cores import num_cores

BLOCK = 2**16
"""Elements that are summed at a time: in float64 they and a copy fit a core's cache."""
GROUP = 64
"""Updates whose sum is taken by itself: sums of groups, which others may have taken, are added in the groups' order."""


def aggregate_mean(updates: Sequence[WeightedUpdate], _context: AggregatorContext) -> dict[str, Array]:
    """Return the weighted mean: see :func:`weighted_mean`."""
    return weighted_mean(updates)


def weighted_mean(updates: Sequence[WeightedUpdate]) -> dict[str, Array]:
    """Return sum_k(w_k x_k) / sum_k(w_k) of every array: McMahan et al. 2017, Algorithm 1, line 8 (n_k/n weights).

    It goes part by part, so it needs memory for one model, however many updates there are. It sums in the order of the
    updates, ``GROUP`` at a time, and then adds up these sums. So one order gives one result to the last bit, whatever
    the number of threads (one for each processor), and whatever adds (:func:`celeriac.aggregators.kernel.adder`).

    Sums are taken in float64 and rounded once to the array's own dtype. For float32, float16 and weights below 2**29
    the products are exact, so for K updates the error is at most K * 2**-53 * sum_k(w_k |x_k|) / sum_k(w_k) before
    rounding: the result is the exact mean, correctly rounded, unless the mean lies that close to the midpoint of two
    numbers. Integers are rounded to the nearest, halves to even, and clipped to their dtype's range.

    Args:
        updates: At least one; all with the same names, shapes and dtypes. Not changed. Arrays that are not contiguous
            are copied, one of each update at a time.

    Returns:
        New arrays, by name.

    Raises:
        ValueError: If there is no update, or the weights don't sum to more than zero.
    """
    weights, total = scaled_weights([update.weight for update in updates])
    num_bytes = sum(values.nbytes for update in updates for values in update.parameters.values())
    results = {name: np.empty(first.shape, first.dtype) for name, first in updates[0].parameters.items()}
    with ThreadPoolExecutor(num_cores()) as threads:
        for name, result in results.items():
            add = adder(result.dtype, num_bytes)
            put_mean(result, [update.parameters[name] for update in updates], weights, total, add, threads)
    return results


def put_mean(
    result: Array, updates: Sequence[Array], weights: Sequence[float], total: float, add: Add, threads: Executor
) -> None:
    """Put sum_k(w_k x_k) / total into ``result``, contiguous and of the updates' shape and dtype, part by part."""
    flat_result = result.reshape(-1)
    flat = [np.ascontiguousarray(values).reshape(-1) for values in updates]

    def put_part(part: slice) -> None:
        put_part_of_mean(flat_result[part], [values[part] for values in flat], weights, total, add)

    each_part(put_part, flat_result, threads)


def put_part_of_mean(result: Array, updates: Sequence[Array], weights: Sequence[float], total: float, add: Add) -> None:
    """Put sum_k(w_k x_k) / total into ``result``; all have shape (n,)."""
    room = np.empty((2, min(BLOCK, result.size)))
    for start in range(0, result.size, BLOCK):
        block = slice(start, min(start + BLOCK, result.size))
        sums, of_group = room[:, : block.stop - start]
        add_groups([values[block] for values in updates], weights, sums, of_group, add)
        with np.errstate(over="ignore"):  # what becomes infinite so fails the round
            sums /= total
        result[block] = rounded(sums, result.dtype)


def add_groups(updates: Sequence[Array], weights: Sequence[float], sums: Floats, of_group: Floats, add: Add) -> None:
    """Put the sum of the sums of groups of weighted updates into ``sums``; ``of_group`` is room for one of these."""
    sums.fill(0.0)
    add(updates[:GROUP], weights[:GROUP], sums)
    for start in range(GROUP, len(updates), GROUP):
        of_group.fill(0.0)
        add(updates[start : start + GROUP], weights[start : start + GROUP], of_group)
        sums += of_group
