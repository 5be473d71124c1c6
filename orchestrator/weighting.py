"""How much partial work counts: weightings of the updates of a round, a function each.

A weighting changes the weights that the algorithm gives the updates, and how far the model moves towards their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from algorithms import UpdateInfo, Weights
from algorithms.fednova import normalise

Weighting = Callable[[Sequence[UpdateInfo], Weights], Weights]
"""From what is known of the updates, and the algorithm's weights for them, to those that count."""


def by_examples(_updates: Sequence[UpdateInfo], weights: Weights) -> Weights:
    """Weigh as the algorithm does, for FedAvg by examples, however many steps were done.

    McMahan et al. 2017, Algorithm 1, line 8. A client that did fewer steps has moved less, so where clients do
    different amounts of work the model moves towards the data of those that do more.
    """
    return weights


def by_steps(updates: Sequence[UpdateInfo], weights: Weights) -> Weights:
    """Normalise each update by its steps, as FedNova does for plain SGD: every client's direction counts the same.

    See :func:`algorithms.fednova.normalise`. With equal steps nothing changes.
    """
    return normalise(updates, weights)


WEIGHTINGS: dict[str, Weighting] = {"examples": by_examples, "steps": by_steps}
"""Names at ``--weighting``."""
