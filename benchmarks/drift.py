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
MEAN_IS_OFF_BY = 0.05
VALUE_IS_OFF_BY = 0.02


def array_size(megabytes: float) -> int:
    """Return the values of each array of a model of ``megabytes`` million bytes."""
    return round(megabytes * 1e6 / (_BYTES_A_VALUE * NUM_ARRAYS))


def step(index: int) -> float:
    """Return what client ``index`` (from 0) adds to each value in a round."""
    return 1e-3 + 1e-6 * index


def is_right(before: Iterable[Values], after: Iterable[Values], num_clients: int, num_rounds: int) -> bool:
    """Say whether the arrays ``after`` are what ``num_rounds`` rounds of federated averaging make of ``before``.

    Their mean must have moved by as much. Single values may be off by as much again and more: summing those of ten
    thousand clients in float32 loses four digits.
    """
    added = num_rounds * (step(0) + step(num_clients - 1)) / 2
    return all(_has_moved(found - values, added) for values, found in zip(before, after, strict=True))


def _has_moved(differences: Values, added: float) -> bool:
    mean_is_off_by = abs(float(differences.mean(dtype=np.float64)) - added)
    return mean_is_off_by < MEAN_IS_OFF_BY * added and float(np.abs(differences).max()) < added + VALUE_IS_OFF_BY
