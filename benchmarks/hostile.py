"""Hostile clients: workloads that wrap an honest one and falsify what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from celeriac.workloads.datasets.digits import NUM_CLASSES
from celeriac.workloads.examples import Examples
from tasks.arrays import Array, Arrays, encode
from tasks.context import Context
from tasks.digests import Digest
from tasks.evaluation import Evaluation
from tasks.seeds import derive_seed, generator
from tasks.workload import ClientData, DataSource, TrainResult, Workload


class Hostile(Workload):
    """A client that does what an honest one does; attacks override what they falsify.

    Args:
        honest: The workload that it is said to train.
    """

    shares_data: ClassVar[bool] = False
    """Whether all hostile clients have the data of the first of them, by client id."""

    def __init__(self, honest: Workload) -> None:
        self.honest = honest

    def initial_parameters(self, context: Context) -> Arrays:
        """Return the honest workload's."""
        return self.honest.initial_parameters(context)

    def client_data(self, source: DataSource) -> ClientData:
        """Return the honest workload's."""
        return self.honest.client_data(source)

    def holdout_data(self, folder: Path | None) -> Any:
        """Return the honest workload's."""
        return self.honest.holdout_data(folder)

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        """Train honestly, and falsify each array of floats of the result."""
        result = self.honest.train(parameters, data, context)
        rng = generator(context.seed, "attack")
        falsified = {
            name: self.falsify(parameters[name], trained, rng).astype(trained.dtype)
            for name, trained in sorted(result.parameters.items())
        }
        return replace(result, parameters=falsified)

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        """Evaluate honestly."""
        return self.honest.evaluate(parameters, data, context)

    def falsify(self, start: Array, trained: Array, rng: np.random.Generator) -> Array:
        """Return what is sent in place of ``trained``, one array of the update; ``start`` is the global model's."""
        return trained


class Scaled(Hostile):
    """Goes ``FACTOR`` times as far as it should, to have the say of as many."""

    FACTOR = 10.0

    def falsify(self, start: Array, trained: Array, rng: np.random.Generator) -> Array:
        """Return start + FACTOR * (trained - start)."""
        scaled: Array = start + self.FACTOR * (trained - start)
        return scaled


class SignFlip(Scaled):
    """Goes in the opposite direction, three times as far as it should."""

    FACTOR = -3.0


class WeakSignFlip(Scaled):
    """Goes in the opposite direction, as far as it should: no longer than an honest update."""

    FACTOR = -1.0


class StrongSignFlip(Scaled):
    """Goes in the opposite direction, five times as far as it should."""

    FACTOR = -5.0


class Noise(Hostile):
    """Sends the global model with Gaussian noise of standard deviation ``DEVIATION`` on it."""

    DEVIATION = 0.5

    def falsify(self, start: Array, trained: Array, rng: np.random.Generator) -> Array:
        """Return start + noise."""
        noisy: Array = start + self.DEVIATION * rng.standard_normal(start.shape)
        return noisy


class LabelFlip(Hostile):
    """Trains on labels 9 - y, honestly otherwise; so it judges other clients' updates by these labels, too."""

    def client_data(self, source: DataSource) -> ClientData:
        """Return the honest workload's, with all labels turned round."""
        data = self.honest.client_data(source)
        return replace(data, train=Examples(data.train.inputs, NUM_CLASSES - 1 - data.train.targets))


class Copy(Hostile):
    """Sends an honest update, to the last bit the one that its accomplices send.

    All of them have the data of one, and train by a seed that they make of the model that all are given.
    """

    shares_data = True

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        """Train honestly, with the accomplices' seed in place of the client's own."""
        digest = Digest()
        for piece in encode(parameters):
            digest.update(piece)
        common = derive_seed(0, "copy", digest.hexdigest())
        return self.honest.train(parameters, data, replace(context, seed=common))


ATTACKS: Mapping[str, type[Hostile]] = {
    "sign flip": SignFlip,
    "noise": Noise,
    "label flip": LabelFlip,
    "scaled": Scaled,
    "weak sign flip": WeakSignFlip,
    "flip x5": StrongSignFlip,
    "copy": Copy,
}
"""The weak sign flip is the hardest to see."""
