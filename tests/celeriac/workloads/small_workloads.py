"""Small workloads of PyTorch, data for them, and training in a line."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import nn

from celeriac.workloads.examples import Examples
from celeriac.workloads.torch_workload import TorchWorkload
from tasks.arrays import Arrays
from tasks.context import Context, TimeBudget
from tasks.messages import TrainOptions
from tasks.workload import ClientData, DataSource, TrainResult


class NoData(TorchWorkload):
    """A workload whose tests give it data of their own."""

    def client_data(self, source: DataSource) -> ClientData:
        raise NotImplementedError

    def holdout_data(self, folder: Path | None) -> None:
        return None


class OneWeight(NoData):
    """Logits are ``(w0 * x, w1 * x)``."""

    def build_model(self, context: Context) -> nn.Module:
        return nn.Linear(1, 2, bias=False)


class WithDropout(NoData):
    def build_model(self, context: Context) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))


class WithBuffers(NoData):
    def build_model(self, context: Context) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


class Of(NoData):
    """A workload of the model that a function builds."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self.build = build

    def build_model(self, context: Context) -> nn.Module:
        return self.build()


ONE_EXAMPLE = Examples(np.ones((1, 1), np.float32), np.zeros(1, np.int64))
"""x = 1, of class 0."""


def endless() -> TimeBudget:
    return TimeBudget(math.inf)


def budget_of_steps(num_steps: int) -> TimeBudget:
    """Time that passes by one second each time it is asked for."""
    return TimeBudget(num_steps + 1, clock=itertools.count().__next__)


def random_examples(num_examples: int, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((num_examples, 3)).astype(np.float32)
    return Examples(inputs, (inputs.sum(axis=1) > 0).astype(np.int64))


def trained(
    workload: TorchWorkload,
    data: object,
    start: Arrays | None = None,
    *,
    seed: int = 1,
    budget: TimeBudget | None = None,
    **options: float,
) -> TrainResult:
    """Train from ``start``, or from what the workload starts with."""
    parameters = workload.initial_parameters(Context(seed=1)) if start is None else start
    chosen = TrainOptions.model_validate(options)
    return workload.train(parameters, data, Context(options=chosen, seed=seed, budget=budget or endless()))


def weights(*rows: float) -> Arrays:
    return {"weight": np.array([[row] for row in rows], dtype=np.float32)}


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)
