"""Who gets which examples of a data set that several share: pure functions of numbers and a seed.

Every process that calls them with equal arguments gets equal splits, so that clients agree without a word.
"""

from __future__ import annotations

import numpy as np

from tasks.errors import ConfigurationError
from tasks.seeds import generator
from tasks.workload import Part
from workloads.examples import Indices

CLIENT_TEST_SHARE = 0.1
"""Share of its own examples that a client of a built-in workload keeps for evaluation."""


def iid_parts(num_examples: int, num_parts: int, seed: int) -> list[Indices]:
    """Deal out examples at random, so that each is in exactly one part.

    Args:
        num_examples: Number of examples in the data set.
        num_parts: Number of parts, from 1 to ``num_examples``.
        seed: Seeds the shuffle.

    Returns:
        Ascending int64 indices of each part; sizes differ by at most one, larger parts come first.

    Raises:
        ConfigurationError: If a part would be empty.
    """
    if not 1 <= num_parts <= num_examples:
        raise ConfigurationError(
            f"{num_examples} examples can't be split into {num_parts} parts: take 1 to {num_examples} parts"
        )
    order = generator(seed, "parts").permutation(num_examples).astype(np.int64)
    return [np.sort(part) for part in np.array_split(order, num_parts)]


def hold_out(indices: Indices, share: float, seed: int) -> tuple[Indices, Indices]:
    """Split ``indices`` at random into examples to train on and examples to test on.

    The test examples are ``share`` of all to the nearest whole number, but never all of them, and, from two examples
    on, at least one. A single example is for training.

    Args:
        indices: int64, shape ``(n,)``, n from 1.
        share: Share to test on, over 0 and under 1.
        seed: Seeds the choice.

    Returns:
        Ascending int64 indices to train on, and those to test on.

    Raises:
        ConfigurationError: If there are no indices, or the share is out of range.
    """
    if not 0 < share < 1:
        raise ConfigurationError(f"share {share} to hold out: it has to be over 0 and under 1")
    if len(indices) == 0:
        raise ConfigurationError("no examples to hold any out of: at least one is needed")
    num_test = min(max(round(share * len(indices)), 1), len(indices) - 1)
    order = generator(seed, "hold out").permutation(indices)
    return np.sort(order[num_test:]), np.sort(order[:num_test])


def client_split(num_examples: int, part: Part, seed: int) -> tuple[Indices, Indices]:
    """Return the indices that one client trains on and tests on, where every client has an iid part of a data set.

    Raises:
        ConfigurationError: If there are fewer examples than parts.
    """
    own = iid_parts(num_examples, part.count, seed)[part.index]
    return hold_out(own, CLIENT_TEST_SHARE, seed)
