"""What comes with updates beside the parameters, judged by its length: scorers see the parameters alone.

A control variate or a gradient that is far longer than the others' turns the state that all clients train by, while the
update that it came with may be the best of all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

import numpy as np

from tasks.arrays import Arrays

MAD_WIDTH = 5 * 1.4826
"""Robust standard deviations from the median at which a set is an outlier."""
LEAST_TO_COMPARE = 3


def outlying_sets(sets_of: Mapping[str, Mapping[str, Arrays]]) -> dict[str, str]:
    """Return whose sets are too long, and why.

    A set is too long if its L2 norm is more than twice the median of all clients' and over five robust standard
    deviations (1.4826 MAD) above it. With fewer than three clients nobody can be told from the others.

    Args:
        sets_of: Client id -> what came with its update, by set; all have the same sets.
    """
    if len(sets_of) < LEAST_TO_COMPARE:
        return {}
    reasons = {}
    for kind in next(iter(sets_of.values())):
        lengths = {client_id: _length(sets[kind]) for client_id, sets in sets_of.items()}
        middle = median(lengths.values())
        spread = MAD_WIDTH * median(abs(length - middle) for length in lengths.values())
        for client_id, length in lengths.items():
            if length > middle + max(middle, spread):
                reasons[client_id] = f"the set {kind!r} with it has length {length:.4g}, the median has {middle:.4g}"
    return reasons


def _length(arrays: Arrays) -> float:
    return math.sqrt(sum(float(np.square(values, dtype=np.float64).sum()) for values in arrays.values()))
