"""Federated averaging.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas: Communication-Efficient Learning of Deep Networks from Decentralized
Data, AISTATS 2017 (https://arxiv.org/abs/1602.05629), Algorithm 1: the clients run E epochs of SGD from the global
parameters (ClientUpdate), and the server takes the mean of what they return, weighted by their examples (line 8).
"""

from __future__ import annotations

from orchestrator.algorithms.algorithm import Algorithm, UpdateInfo
from tasks.arrays import Arrays


def weight(update: UpdateInfo) -> float:
    """Return n_k: an update weighs as much as the examples it was trained on."""
    return float(update.num_examples)


def step(_parameters: Arrays, mean: Arrays) -> Arrays:
    """Return w_{t+1} = sum_k (n_k / n) w_{t+1}^k, which ``mean`` is."""
    return mean


FEDAVG = Algorithm(name="fedavg", weight=weight, step=step)
