"""Reducing updates block by block, with memory for one model and a block of each update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.arrays import Array, Arrays, is_float

BLOCK = 2**14
"""Elements of each update in a block: for ten float32 updates they take 0.7 MB."""
PART_BYTES = 2**21
"""Bytes of each array that a thread handles at a time."""

Floats = npt.NDArray[np.float64]

Reduce = Callable[[Array], Array]
"""From the values of all updates, shape (K, n), not to be changed, to one value for each place, shape (n,).

Its result has the updates' dtype, or is float64 and rounded by the caller.
"""

Add = Callable[[Sequence[Array], Sequence[float], Floats], None]
"""Adds updates with their weights to sums, as :func:`add_block` does."""


def each_part(put_part: Callable[[slice], None], values: Array, threads: Executor) -> None:
    """Call ``put_part`` for every part of ``values``, shape (n,): slices of ``PART_BYTES``, the last may be shorter."""
    step = max(1, PART_BYTES // values.itemsize)
    parts = [slice(start, min(start + step, values.size)) for start in range(0, values.size, step)]
    for _ in map(put_part, parts) if len(parts) == 1 else threads.map(put_part, parts):
        pass


def reduce_blocks(updates: Sequence[Arrays], names: Iterable[str], reduce: Reduce) -> dict[str, Array]:
    """Reduce the updates' arrays of each name to a new array, block by block.

    Args:
        updates: At least one; all with the same shapes and dtypes. Not changed. Arrays that are not contiguous are
            copied whole.
        names: Names of the arrays to reduce.
        reduce: Its result at a place must depend on the values at this place alone.
    """
    return {name: _reduce_array([update[name] for update in updates], reduce) for name in names}


def _reduce_array(arrays: Sequence[Array], reduce: Reduce) -> Array:
    first = arrays[0]
    result = np.empty(first.shape, first.dtype)
    flat_result = result.reshape(-1)
    flat = [values.reshape(-1) for values in arrays]
    rows = np.empty((len(flat), min(BLOCK, flat_result.size)), first.dtype)
    for start in range(0, flat_result.size, BLOCK):
        block = slice(start, min(start + BLOCK, flat_result.size))
        part = rows[:, : block.stop - start]
        for row, values in zip(part, flat, strict=True):
            row[...] = values[block]
        flat_result[block] = rounded(reduce(part), result.dtype)
    return result


def scaled_weights(weights: Sequence[float]) -> tuple[list[float], float]:
    """Return the weights and their sum, scaled by a power of two so that the sum is between a half and 1.

    This changes no digit, and keeps sums of large values from overflowing.

    Raises:
        ValueError: If they don't sum to more than zero.
    """
    total = float(sum(weights))
    if not 0 < total < math.inf:
        raise ValueError(f"{len(weights)} updates weigh {total} in sum: more than 0 is needed")
    scale = 2.0 ** -math.frexp(total)[1]
    return [weight * scale for weight in weights], total * scale


def mean_of_rows(rows: Array, weights: Sequence[float]) -> Floats:
    """Return sum_k(w_k x_k) / sum_k(w_k) of the rows x_k, summed in order: shape (n,); the weights sum to more than 0.

    Rows of weight 0 are left out, even if they are not finite.
    """
    scaled, total = scaled_weights(weights)
    sums = np.zeros(rows.shape[1])
    add_block([row for row, weight in zip(rows, scaled, strict=True) if weight], [x for x in scaled if x], sums)
    sums /= total
    return sums


def add_block(updates: Sequence[Array], weights: Sequence[float], sums: Floats) -> None:
    """Add weighted updates to ``sums`` in float64, one after the other; all have shape (n,)."""
    scaled = np.empty_like(sums)
    for values, weight in zip(updates, weights, strict=True):
        np.multiply(values, weight, out=scaled, dtype=np.float64, casting="unsafe")
        np.add(sums, scaled, out=sums)


def rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return values in ``dtype``, rounded once; for whole numbers with halves to even, clipped to the dtype's range."""
    if values.dtype == dtype:
        return values
    return values.astype(dtype) if is_float(dtype) else _whole(values, dtype)


def _whole(values: Floats, dtype: np.dtype[Any]) -> Array:
    """Return values rounded to an integer or boolean dtype."""
    nearest = np.rint(values)
    if dtype.kind == "b":
        return nearest.astype(dtype)
    limits = np.iinfo(dtype)
    with np.errstate(invalid="ignore"):
        whole = np.clip(nearest, float(limits.min), float(limits.max)).astype(dtype)
    whole[nearest >= float(limits.max)] = limits.max  # float(limits.max) may be one more than the dtype holds
    return whole
