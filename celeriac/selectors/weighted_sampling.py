"""Weighted sampling without replacement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def draw(rng: np.random.Generator, weights: Sequence[float], num: int) -> list[int]:
    """Draw ``num`` indices one after the other, each in proportion to its weight among the remaining ones.

    The largest values of log(weight) plus Gumbel noise are such a draw (Efraimidis, Spirakis 2006, "Weighted random
    sampling with a reservoir", in logarithms), whatever the weights' scale.

    Args:
        rng: Draws one number for each weight.
        weights: Finite and not negative. Indices of weight 0 come last, in random order.
        num: How many to draw; more than there are means all.
    """
    noise = rng.gumbel(size=len(weights))
    with np.errstate(divide="ignore"):
        keys = np.log(np.asarray(weights, np.float64)) + noise
    order = np.lexsort((-noise, -keys))
    return [int(index) for index in order[:num]]
