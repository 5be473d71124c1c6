"""A workload without PyTorch: softmax regression in plain NumPy, on points that it makes up itself.

The points lie around six centres on a circle, and a point's class is its centre. Each client draws points of its own;
nothing is read from disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from celeriac import (
    Arrays,
    ClientData,
    Context,
    DataSource,
    Direction,
    Evaluation,
    Gradients,
    Step,
    TrainResult,
    Workload,
    generator,
)

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]

NUM_CLASSES = 6
NUM_TRAIN = 300
NUM_TEST = 60
NUM_HELD_OUT = 1_200
RADIUS = 3.0
DATA_SEED = 6


@dataclass(frozen=True, slots=True)
class Points:
    """``positions`` is float32, shape ``(n, 2)``; ``classes`` is int64, shape ``(n,)``."""

    positions: Floats
    classes: Classes


class Softmax(Workload):
    """Softmax regression: ``weights`` of shape ``(2, 6)`` and ``bias`` of shape ``(6,)``, both float32."""

    def initial_parameters(self, context: Context) -> Arrays:
        """Return small random weights and no bias."""
        weights = 0.01 * context.rng.standard_normal((2, NUM_CLASSES))
        return {"weights": weights.astype(np.float32), "bias": np.zeros(NUM_CLASSES, np.float32)}

    def client_data(self, source: DataSource) -> ClientData:
        """Draw the client's own points; other parts draw others."""
        train = _draw(NUM_TRAIN, f"train {source.part.index}")
        test = _draw(NUM_TEST, f"test {source.part.index}")
        classes, counts = np.unique(train.classes, return_counts=True)
        labels = {str(name): int(count) for name, count in zip(classes, counts, strict=True)}
        return ClientData(train=train, test=test, num_train=NUM_TRAIN, labels=labels)

    def holdout_data(self, folder: Path | None) -> Points:
        """Draw the orchestrator's points."""
        return _draw(NUM_HELD_OUT, "held out")

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        """Do gradient steps on shuffled batches until the epochs or the time are over."""
        return self.train_along(parameters, data, context, direction=lambda step: step.gradients)

    def train_along(self, parameters: Arrays, data: Any, context: Context, direction: Direction) -> TrainResult:
        """Do the same with steps along ``direction``, for algorithms that change them."""
        trained = {name: values.copy() for name, values in parameters.items()}
        rate = np.float32(context.options.learning_rate)
        num_examples, num_steps, num_seen = len(data.classes), 0, 0
        for rows in _batches(num_examples, context):
            if context.budget.is_over():
                break
            batch = Points(data.positions[rows], data.classes[rows])
            turned = direction(Step(trained, _gradients(trained, batch), partial(_gradients, batch=batch)))
            trained = {name: values - rate * turned[name] for name, values in trained.items()}
            num_steps += 1
            num_seen += len(rows)
        metrics = {"train_loss": _loss(trained, data)}
        return TrainResult(trained, num_examples, num_steps, num_seen / num_examples, metrics)

    def gradients(self, parameters: Arrays, data: Any, context: Context) -> Gradients:
        """Return loss and gradients over all of the client's points."""
        return Gradients(_loss(parameters, data), _gradients(parameters, data))

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        """Return mean cross entropy and accuracy."""
        probabilities = _probabilities(parameters["weights"], parameters["bias"], data.positions)
        accuracy = (probabilities.argmax(axis=1) == data.classes).mean()
        return Evaluation(_loss(parameters, data), len(data.classes), {"accuracy": float(accuracy)})


def _draw(num_points: int, purpose: str) -> Points:
    rng = generator(DATA_SEED, purpose)
    classes = rng.integers(NUM_CLASSES, size=num_points)
    angles = 2 * np.pi * classes / NUM_CLASSES
    centres = RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Points((centres + 0.7 * rng.standard_normal(centres.shape)).astype(np.float32), classes)


def _batches(num_examples: int, context: Context) -> Iterator[Classes]:
    options = context.options
    for _ in range(options.epochs):
        order = context.rng.permutation(num_examples)
        yield from np.split(order, range(options.batch_size, num_examples, options.batch_size))


def _loss(parameters: Arrays, data: Points) -> float:
    """Return the mean cross entropy."""
    probabilities = _probabilities(parameters["weights"], parameters["bias"], data.positions)
    of_target = probabilities[np.arange(len(data.classes)), data.classes]
    return float(-np.log(np.maximum(of_target, np.finfo(np.float32).tiny)).mean())


def _gradients(parameters: Arrays, batch: Points) -> dict[str, Floats]:
    """Return the gradients of the batch's mean cross entropy."""
    errors = _probabilities(parameters["weights"], parameters["bias"], batch.positions)
    errors[np.arange(len(batch.classes)), batch.classes] -= 1
    errors /= len(batch.classes)
    return {"weights": batch.positions.T @ errors, "bias": errors.sum(axis=0)}


def _probabilities(weights: Floats, bias: Floats, positions: Floats) -> Floats:
    logits = positions @ weights + bias
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits
