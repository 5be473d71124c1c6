"""Drawing without replacement, by weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def draw(rng: np.random.Generator, weights: Sequence[float], num: int) -> list[int]:
    """Return ``num`` indices, drawn one after the other, each in proportion to its weight among those that are left.

    The largest values of log(weight) plus Gumbel noise are such a draw (Efraimidis, Spirakis 2006, "Weighted random
    sampling with a reservoir", in logarithms), whatever the weights' scale.

    Args:
        rng: Gives a number for each weight.
        weights: Finite and not negative. Those of 0 come last, in an order at random.
        num: How many; all if there are no more.
    """
    noise = rng.gumbel(size=len(weights))
    with np.errstate(divide="ignore"):
        keys = np.log(np.asarray(weights, np.float64)) + noise
    order = np.lexsort((-noise, -keys))
    return [int(index) for index in order[:num]]
