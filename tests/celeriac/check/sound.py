"""A workload without PyTorch and without a fault: a line through points, by gradient steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

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
)


class Points:
    """Places ``(n,)`` and values ``(n,)``, float64."""

    def __init__(self, seed: int, num: int) -> None:
        rng = np.random.default_rng(seed)
        self.places = rng.uniform(-1, 1, num)
        self.values = 2 * self.places + 0.1 * rng.standard_normal(num)

    def __len__(self) -> int:
        return len(self.places)


class Sound(Workload):
    """``slope`` and ``offset``, float64 of shape ``(1,)``, and how many steps were done, int64."""

    def initial_parameters(self, context: Context) -> Arrays:
        return {"slope": context.rng.standard_normal(1), "offset": np.zeros(1), "steps": np.zeros((), np.int64)}

    def buffer_names(self, context: Context) -> frozenset[str]:
        return frozenset({"steps"})

    def client_data(self, source: DataSource) -> ClientData:
        index = source.part.index
        return ClientData(Points(index, 40), Points(100 + index, 10), 40, {"low": 30, "high": 10})

    def holdout_data(self, folder: Path | None) -> Any:
        return Points(999, 20)

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        return self.train_along(parameters, data, context, lambda step: step.gradients)

    def train_along(self, parameters: Arrays, data: Any, context: Context, direction: Direction) -> TrainResult:
        trained, num_steps = {name: values.copy() for name, values in parameters.items()}, 0
        for rows in self.batches(len(data), context):
            if self.is_over(context):
                break

            def gradients_at(there: Arrays, rows: Any = rows) -> dict[str, Any]:
                errors = there["slope"] * data.places[rows] + there["offset"] - data.values[rows]
                return {"slope": np.mean([errors * data.places[rows]], axis=1), "offset": np.mean([errors], axis=1)}

            turned = direction(Step(trained, gradients_at(trained), gradients_at))
            trained = {name: values - 0.1 * turned.get(name, 0) for name, values in trained.items()}
            trained["steps"] = parameters["steps"] + num_steps + 1
            num_steps += 1
        return TrainResult(trained, len(data), num_steps, num_steps / 20, {"train_loss": 0.5})

    def batches(self, num: int, context: Context) -> Any:
        return np.array_split(context.rng.permutation(num), 20)

    def is_over(self, context: Context) -> bool:
        return context.budget.is_over()

    def gradients(self, parameters: Arrays, data: Any, context: Context) -> Gradients:
        errors = parameters["slope"] * data.places + parameters["offset"] - data.values
        found = {"slope": np.mean([errors * data.places], axis=1), "offset": np.mean([errors], axis=1)}
        return Gradients(float((errors**2).mean()) / 2, found)

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        errors = parameters["slope"] * data.places + parameters["offset"] - data.values
        return Evaluation(float((errors**2).mean()), len(data), {"accuracy": float((abs(errors) < 1).mean())})
