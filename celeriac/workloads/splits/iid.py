"""Independent and identically distributed: random parts of equal size."""

from __future__ import annotations

import numpy as np

from celeriac.workloads.examples import Indices
from celeriac.workloads.splits import Labels, Split, check_num_parts, no_parameter
from tasks.seeds import generator


def iid(parameter: str) -> Split:
    """Return the split ``iid``; it has no parameter.

    Raises:
        ConfigurationError: If there is a parameter.
    """
    no_parameter("iid", parameter)
    return iid_parts


def iid_parts(labels: Labels, num_parts: int, seed: int) -> list[Indices]:
    """Deal out examples at random, so that each is in exactly one part.

    Args:
        labels: Shape ``(n,)``; only their number counts.
        num_parts: Number of parts, from 1 to n.
        seed: Seeds the shuffle.

    Returns:
        Ascending int64 indices of each part; sizes differ by at most one, larger parts come first.

    Raises:
        ConfigurationError: If a part would be empty.
    """
    check_num_parts(len(labels), num_parts)
    order = generator(seed, "parts").permutation(len(labels)).astype(np.int64)
    return [np.sort(part) for part in np.array_split(order, num_parts)]
