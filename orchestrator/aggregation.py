"""What is aggregated, and how far the model moves towards the result; how it is done is in ``aggregators``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.arrays import Array, Arrays


@dataclass(frozen=True, slots=True)
class WeightedUpdate:
    """An update's parameters and how much it weighs; weights need not sum to one."""

    parameters: Arrays
    weight: float


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
