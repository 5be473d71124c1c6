"""Holding out examples for evaluation: the orchestrator from the whole data set, a client from its own part."""

from __future__ import annotations

import numpy as np

from celeriac.workloads.examples import Indices
from tasks.errors import ConfigurationError
from tasks.seeds import generator

CLIENT_TEST_SHARE = 0.1
"""Share of its own examples that a client of a built-in workload keeps for evaluation."""


def hold_out(indices: Indices, share: float, seed: int) -> tuple[Indices, Indices]:
    """Split ``indices`` at random into examples to train on and examples to test on.

    ``share`` of all, rounded to the nearest whole number, are test examples, but at least one and never all. A single
    example is for training.

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
