"""A workload whose training is next to nothing, so that what a round takes is what the framework takes.

A client adds a constant of its own to all it got: equal updates might be told apart by nobody, and kept once.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.drift import NUM_ARRAYS, array_size, step
from tasks.arrays import Array, Arrays
from tasks.context import Context
from tasks.errors import ConfigurationError
from tasks.evaluation import Evaluation
from tasks.seeds import generator
from tasks.workload import ClientData, DataSource, Direction, Step, TrainResult, Workload


class Constant(Workload):
    """Eight equal float32 arrays, ``layer-0`` to ``layer-7``, of one dimension.

    Args:
        mb: Their bytes in all, in millions, 0.000032 or more.
        hangs: Id of a client that never comes to an end.
        fails: Id of one that raises an error.

    Raises:
        ConfigurationError: If ``mb`` isn't such a number.
    """

    def __init__(self, mb: str = "0.4", hangs: str = "", fails: str = "") -> None:
        self._hangs, self._fails = hangs or None, fails or None  # where rounds are tried by hand there are no ids
        try:
            self._size = array_size(float(mb))
        except (ValueError, OverflowError):
            self._size = 0
        if self._size < 1:
            raise ConfigurationError(f"mb={mb}: millions of bytes are wanted, 0.000032 or more, like 0.4 or 40")

    def initial_parameters(self, context: Context) -> dict[str, Array]:
        """Return values drawn from the standard normal distribution."""
        draw = generator(context.seed, "initial")
        return {f"layer-{index}": draw.standard_normal(self._size, np.float32) for index in range(NUM_ARRAYS)}

    def client_data(self, source: DataSource) -> ClientData:
        """Return what the client adds to each value: all the data that it has."""
        return ClientData(train=step(source.part.index), test=None, num_train=1)

    def holdout_data(self, folder: Path | None) -> None:
        """Return nothing: the model isn't evaluated."""

    def train(self, parameters: Arrays, data: float, context: Context) -> TrainResult:
        """Add the client's constant to each value."""
        if context.client_id == self._fails:
            raise RuntimeError("this client fails")
        while context.client_id == self._hangs:
            time.sleep(1)
        return _trained({name: values + np.float32(data) for name, values in parameters.items()})

    def train_along(self, parameters: Arrays, data: float, context: Context, direction: Direction) -> TrainResult:
        """Do the same by one step, whose gradient leads there."""
        rate = np.float32(context.options.learning_rate)
        gradients = {name: np.full_like(values, -data / rate) for name, values in parameters.items()}
        turned = direction(Step(parameters, gradients, lambda _: gradients))
        return _trained({name: values - rate * turned[name] for name, values in parameters.items()})

    def evaluate(self, parameters: Arrays, data: object, context: Context) -> Evaluation:
        """Say that nothing was evaluated."""
        return Evaluation(0.0, 1, {"accuracy": 0.0})


def _trained(parameters: Arrays) -> TrainResult:
    return TrainResult(parameters, num_examples=1, num_steps=1, num_epochs=1.0)
