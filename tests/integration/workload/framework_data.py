"""Workloads whose data, models and constants are of frameworks that start threads as soon as there is one of these."""

from __future__ import annotations

import os
from typing import Any

import jax.numpy as jnp
import numpy as np
from pulled import ClientData, Pulled, TrainResult

from tasks.evaluation import Evaluation

HALF = jnp.float32(0.5)
NUM_EXAMPLES = 20


class InJax(Pulled):  # type: ignore[misc]  # beside this file when a client imports it, not where mypy looks
    """A client's data is an array of JAX's, and so is a constant of the module."""

    def client_data(self, source: Any) -> ClientData:
        return ClientData(jnp.full(10, float(source.part.index + 1)), 1.0, NUM_EXAMPLES)

    def train(self, parameters: Any, data: Any, context: Any) -> TrainResult:
        point = parameters["point"]
        return TrainResult({"point": np.array(point + HALF * (data - point))}, NUM_EXAMPLES, 1, 1.0)


class InKeras(Pulled):  # type: ignore[misc]  # likewise
    """A client's data is a model of Keras's on JAX, and what that is fitted to: the sum of two inputs."""

    def initial_parameters(self, context: Any) -> Any:
        return {"kernel": np.zeros((2, 1), np.float32), "bias": np.zeros(1, np.float32)}

    def client_data(self, source: Any) -> ClientData:
        data = (_model(), *_examples(source.part.index))
        return ClientData(data, data, NUM_EXAMPLES)

    def holdout_data(self, folder: Any) -> Any:
        return (_model(), *_examples(99))

    def train(self, parameters: Any, data: Any, context: Any) -> TrainResult:
        model, inputs, targets = data
        model.set_weights([parameters["kernel"], parameters["bias"]])
        model.fit(inputs, targets, epochs=1, verbose=0)
        kernel, bias = model.get_weights()
        return TrainResult({"kernel": kernel, "bias": bias}, NUM_EXAMPLES, 1, 1.0)

    def evaluate(self, parameters: Any, data: Any, context: Any) -> Evaluation:
        model, inputs, targets = data
        model.set_weights([parameters["kernel"], parameters["bias"]])
        return Evaluation(float(model.evaluate(inputs, targets, verbose=0)), NUM_EXAMPLES)


def _model() -> Any:
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    return model


def _examples(seed: int) -> tuple[Any, Any]:
    inputs = np.random.default_rng(seed).normal(size=(NUM_EXAMPLES, 2)).astype(np.float32)
    return inputs, inputs.sum(axis=1, keepdims=True)
