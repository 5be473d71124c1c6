"""Numbers of every dtype, and sums by their definition."""

from __future__ import annotations

import numpy as np
import pytest

from celeriac.aggregators.blocks import Floats
from tasks.arrays import BFLOAT16, Array, is_float

DTYPES = [np.dtype(code) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")] + [
    BFLOAT16
]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def any_bits(dtype: np.dtype[np.generic], length: int, seed: int) -> Array:
    """Numbers of any bits, of which those that are not finite are 1: tiny, huge and subnormal ones among them."""
    values: Array = np.frombuffer(np.random.default_rng(seed).bytes(length * dtype.itemsize), dtype).copy()
    if is_float(dtype):
        with np.errstate(invalid="ignore"):  # as NaNs of some bits are said to be
            values[~np.isfinite(values)] = 1
    return values


def unaligned(values: Array) -> Array:
    """The same values, a byte beyond an address that they would be aligned at."""
    room = np.empty(values.nbytes + 1, np.uint8)
    moved: Array = room[1:].view(values.dtype)
    moved[...] = values
    return moved


def by_definition(before: Floats, updates: list[Array], weights: list[float]) -> Floats:
    """Sums to which weighted updates are added one after the other."""
    sums = before.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for values, weight in zip(updates, weights, strict=True):
            sums = sums + values.astype(np.float64) * weight
    return sums
