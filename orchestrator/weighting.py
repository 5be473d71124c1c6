"""How much partial work counts: weightings of the updates of a round, a function each.

A weighting gives a weight for each update and how far the model moves towards their weighted mean: with ``x`` the
global parameters and ``m`` the mean, the algorithm gets ``x + scale * (m - x)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.algorithms.algorithm import UpdateInfo


@dataclass(frozen=True, slots=True)
class Weights:
    """A weight for each update, in their order, and the scale of the step towards the mean."""

    weights: list[float]
    scale: float = 1.0


Weighting = Callable[[Sequence[UpdateInfo], Sequence[float]], Weights]
"""From what is known of the updates, and the algorithm's weight for each, to what is summed."""


def by_examples(_updates: Sequence[UpdateInfo], weights: Sequence[float]) -> Weights:
    """Weigh as the algorithm does, for FedAvg by examples, however many steps were done.

    McMahan et al. 2017, Algorithm 1, line 8. A client that did fewer steps has moved less, so where clients do
    different amounts of work the model moves towards the data of those that do more.
    """
    return Weights(list(weights))


def by_steps(updates: Sequence[UpdateInfo], weights: Sequence[float]) -> Weights:
    """Normalise each update by its steps, as FedNova does for plain SGD: every client's direction counts the same.

    Wang, Liu, Liang, Joshi, Poor: Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization,
    NeurIPS 2020 (https://arxiv.org/abs/2007.07481), equation 8 with a_i = (1, …, 1): the new model is
    ``x + tau_eff * sum_i p_i (x_i - x) / tau_i`` with ``p_i = w_i / sum(w)``, ``tau_i`` the steps of client i and
    ``tau_eff = sum_i p_i tau_i``. With equal steps it is FedAvg.
    """
    total = sum(weights)
    tau_eff = sum(weight * update.num_steps for weight, update in zip(weights, updates, strict=True)) / total
    normalised = [weight / update.num_steps for weight, update in zip(weights, updates, strict=True)]
    return Weights(normalised, scale=tau_eff * sum(normalised) / total)


WEIGHTINGS: dict[str, Weighting] = {"examples": by_examples, "steps": by_steps}
"""Names at ``--weighting``."""
