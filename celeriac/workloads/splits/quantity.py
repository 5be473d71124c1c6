"""Quantity skew: some parts have many examples and some few, with the same distribution of labels.

Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study" (2021, arXiv 2102.02079), quantity skew:
q ~ Dir_N(beta) over the N parts, and part j gets a share q_j of all examples, with beta = 0.5.
"""

from __future__ import annotations

import functools

import numpy as np

from celeriac.workloads.examples import Indices
from celeriac.workloads.splits import Labels, Split, check_num_parts, concentration, cut, top_up
from tasks.seeds import generator


def quantity(parameter: str) -> Split:
    """Return the split ``quantity:ALPHA``; ALPHA is 0.5 if there is no parameter. A smaller ALPHA is more skewed.

    Raises:
        ConfigurationError: If the parameter is no number from 0.001 to 1,000,000.
    """
    return functools.partial(quantity_parts, alpha=concentration("quantity", parameter))


def quantity_parts(labels: Labels, num_parts: int, seed: int, alpha: float) -> list[Indices]:
    """Divide all examples, shuffled, by q ~ Dir(alpha), then top up parts that have too few.

    Args:
        labels: int64, shape ``(n,)``; only their number counts.
        num_parts: Number of parts.
        seed: Seeds the shuffle and the draw.
        alpha: The concentration; over 0.

    Returns:
        Ascending int64 indices of each part.

    Raises:
        ConfigurationError: If there are fewer examples than parts.
    """
    check_num_parts(len(labels), num_parts)
    rng = generator(seed, "quantity")
    shuffled = rng.permutation(len(labels)).astype(np.int64)
    return top_up(cut(shuffled, rng.dirichlet(np.full(num_parts, alpha))), rng)
