"""FedNova: each update is normalised by its number of steps.

Wang, Liu, Liang, Joshi, Poor: Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization,
NeurIPS 2020 (https://arxiv.org/abs/2007.07481), equation 8 for plain SGD, a_i = (1, …, 1): the new model is
``x + tau_eff * sum_i p_i (x_i - x) / tau_i`` with ``p_i = n_i / n``, ``tau_i`` the steps of client i and
``tau_eff = sum_i p_i tau_i``. With equal steps it is FedAvg. Clients that optimise with momentum
have other a_i, and are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.algorithms import Algorithm, Settings, UpdateInfo, Weights, by_examples
from tasks.messages import TrainOptions


def normalise(updates: Sequence[UpdateInfo], weights: Weights) -> Weights:
    """Return weights w_i / tau_i, and the scale that makes the step tau_eff * sum_i p_i (x_i - x) / tau_i."""
    total = sum(weights.weights)
    tau_eff = sum(weight * update.num_steps for weight, update in zip(weights.weights, updates, strict=True)) / total
    normalised = [weight / update.num_steps for weight, update in zip(weights.weights, updates, strict=True)]
    return Weights(normalised, scale=weights.scale * tau_eff * sum(normalised) / total)


def weigh(updates: Sequence[UpdateInfo], options: TrainOptions, settings: Settings) -> Weights:
    """Return n_i / tau_i, and the scale."""
    return normalise(updates, by_examples(updates, options, settings))


FEDNOVA = Algorithm(name="fednova", weigh=weigh, weighs_steps=True, needs=("plain_sgd",))
