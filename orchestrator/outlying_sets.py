"""What comes with updates beside what is trained, judged by its length: scorers look at what is trained alone.

A control variate or a gradient that is far longer than the others' turns the state that all clients train by, and
running statistics that are spoil what the model makes of its inputs, while what was trained may be the best of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from verification.proportion import LEAST_TO_COMPARE, PARAMETERS, Lengths, by_part, described

MAD_WIDTH = 5 * 1.4826
"""Robust standard deviations from the median at which a set is an outlier."""


def outlying_sets(lengths_of: Mapping[str, Lengths]) -> dict[str, str]:
    """Return whose sets or buffers are too long, and why.

    They are if their L2 length, buffers' as changes of the global model's, is more than twice the median of all
    clients' and over five robust standard deviations (1.4826 MAD) above it. With fewer than three clients nobody can
    be told from the others.

    Args:
        lengths_of: Client id -> the lengths of its update's parts.
    """
    reasons: dict[str, str] = {}
    for part, each in by_part(lengths_of).items():
        if part == PARAMETERS or len(each) < LEAST_TO_COMPARE:
            continue
        middle = median(each.values())
        spread = MAD_WIDTH * median(abs(length - middle) for length in each.values())
        for client_id, length in each.items():
            if length > middle + max(middle, spread):
                reasons.setdefault(client_id, f"{described(part, length)}, the median has {middle:.3g}")
    return reasons
