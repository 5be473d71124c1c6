"""Arithmetic on named arrays: what the algorithms' formulas are written in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.arrays import Array, Arrays
from tasks.sets import kept_dtype

Floats = npt.NDArray[np.float64]


def floats(arrays: Arrays) -> dict[str, Array]:
    """Return those arrays that are of floating-point numbers; counters and flags have no direction to go in."""
    return {name: values for name, values in arrays.items() if values.dtype.kind == "f"}


def zeros_like(arrays: Arrays) -> dict[str, Array]:
    """Return zeros for each array of floats, of float32 at least: what an algorithm keeps begins with them."""
    return {name: np.zeros(values.shape, kept_dtype(values.dtype)) for name, values in floats(arrays).items()}


def combine(function: Callable[..., Any], first: Arrays, *others: Arrays) -> dict[str, Array]:
    """Return ``function`` of each array of floats in ``first`` and its namesakes, taken in float64 and rounded once.

    Args:
        function: From as many float64 arrays of one shape as there are arguments to one like them.
        first: Says which names there are, and the dtypes of the result.
        others: Arrays of the same names.
    """
    return {
        name: np.asarray(
            function(values.astype(np.float64), *(other[name].astype(np.float64) for other in others))
        ).astype(values.dtype)
        for name, values in floats(first).items()
    }
