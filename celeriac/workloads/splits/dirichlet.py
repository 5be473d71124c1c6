"""Label skew by a Dirichlet distribution: each class is divided among the parts in proportions of its own.

Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks" (2019, arXiv 1905.12022), experiments:
for each class k draw p_k ~ Dir_J(alpha) over the J parts, and give part j a share p_kj of the class's examples, with
alpha = 0.5. Sizes of parts differ too. Hsu et al. (2019, arXiv 1909.06335) split otherwise: they draw a distribution
over classes for each client, q ~ Dir(alpha p), and give all clients equally many examples. But once a class has run
out, a client can't get the examples that it drew.
"""

from __future__ import annotations

import functools

import numpy as np

from celeriac.workloads.examples import Indices
from celeriac.workloads.splits import Labels, Split, check_num_parts, concentration, cut, top_up
from tasks.seeds import generator


def dirichlet(parameter: str) -> Split:
    """Return the split ``dirichlet:ALPHA``; ALPHA is 0.5 if there is no parameter. A smaller ALPHA is more skewed.

    Raises:
        ConfigurationError: If the parameter is no number from 0.001 to 1,000,000.
    """
    return functools.partial(dirichlet_parts, alpha=concentration("dirichlet", parameter))


def dirichlet_parts(labels: Labels, num_parts: int, seed: int, alpha: float) -> list[Indices]:
    """Divide each class by p ~ Dir(alpha), then top up parts that have too few examples.

    The papers draw again until the smallest part has ten, which may never happen for a small alpha. Here a part with
    too few takes examples from the largest: :func:`celeriac.workloads.splits.top_up`.

    Args:
        labels: int64, shape ``(n,)``.
        num_parts: Number of parts.
        seed: Seeds the draws.
        alpha: The concentration; over 0.

    Returns:
        Ascending int64 indices of each part.

    Raises:
        ConfigurationError: If there are fewer examples than parts.
    """
    check_num_parts(len(labels), num_parts)
    rng = generator(seed, "dirichlet")
    pieces: list[list[Indices]] = [[] for _ in range(num_parts)]
    for label in np.unique(labels):
        examples = rng.permutation(np.flatnonzero(labels == label).astype(np.int64))
        shares = rng.dirichlet(np.full(num_parts, alpha))
        for part, piece in zip(pieces, cut(examples, shares), strict=True):
            part.append(piece)
    return top_up([np.concatenate(part) for part in pieces], rng)
