"""What training is in all contenders, and what becomes of the model by it. It needs NumPy alone.

A client adds a constant of its own to all it got: equal updates might be told apart by nobody, and kept once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]

NUM_ARRAYS = 8
"""A model is as many equal float32 arrays of one dimension."""
_BYTES_A_VALUE = 4


def array_size(megabytes: float) -> int:
    """Return the values of each array of a model of ``megabytes`` million bytes."""
    return round(megabytes * 1e6 / (_BYTES_A_VALUE * NUM_ARRAYS))


def step(index: int) -> float:
    """Return what client ``index`` (from 0) adds to each value in a round."""
    return 1e-3 + 1e-6 * index


def is_right(before: Iterable[Values], after: Iterable[Values], num_clients: int, num_rounds: int) -> bool:
    """Say whether the arrays ``after`` are what ``num_rounds`` rounds of federated averaging make of ``before``."""
    added = np.float32(num_rounds * (step(0) + step(num_clients - 1)) / 2)
    return all(
        np.allclose(found, values + added, rtol=0, atol=1e-5 * num_rounds)
        for values, found in zip(before, after, strict=True)
    )
