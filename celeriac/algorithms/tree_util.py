"""Arithmetic on named arrays, for the algorithms' formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.arrays import Array, Arrays, is_float
from tasks.auxiliary import kept_dtype

Floats = npt.NDArray[np.float64]


def floats(arrays: Arrays) -> dict[str, Array]:
    """Return the arrays of floating-point numbers; counters and flags are not trained."""
    return {name: values for name, values in arrays.items() if is_float(values.dtype)}


def zeros_like(arrays: Arrays) -> dict[str, Array]:
    """Return zeros for each array of floats, in its dtype or float32 if that is wider: an algorithm's initial state."""
    return {name: np.zeros(values.shape, kept_dtype(values.dtype)) for name, values in floats(arrays).items()}


def combine(function: Callable[..., Any], first: Arrays, *others: Arrays) -> dict[str, Array]:
    """Apply ``function``, in float64, to each array of floats in ``first`` and its namesakes; round the result once.

    Args:
        function: Takes one float64 array from ``first`` and from each of ``others``, all of one shape, and returns one
            of that shape.
        first: Its arrays of floats give the names and dtypes of the result.
        others: Arrays of the same names and shapes.
    """
    return {
        name: np.asarray(
            function(values.astype(np.float64), *(other[name].astype(np.float64) for other in others))
        ).astype(values.dtype)
        for name, values in floats(first).items()
    }
