"""Softmax regression in plain NumPy, for all algorithms: round which of six centres does a point lie?"""

from functools import partial

import numpy as np

from celeriac import ClientData, Evaluation, Gradients, Step, TrainResult, Workload


class Study(Workload):
    def initial_parameters(self, context):
        weights = 0.01 * context.rng.standard_normal((2, 6))
        return {"weights": weights.astype(np.float32), "bias": np.zeros(6, np.float32)}

    def client_data(self, source):
        train, test = points(source.part.index, 300), points(100_000 + source.part.index, 60)
        labels = {name: np.count_nonzero(train[1] == name) for name in range(6)}
        return ClientData(train, test, len(train[1]), labels)

    def holdout_data(self, folder):
        return points(999_999, 1_200)

    def train(self, parameters, data, context):
        return self.train_along(parameters, data, context, direction=lambda step: step.gradients)

    def train_along(self, parameters, data, context, direction):
        x, y = data
        trained, batches = dict(parameters), context.batches(len(y))
        for rows in batches:
            gradients_at = partial(gradients_of, x=x[rows], y=y[rows])
            turned = direction(Step(trained, gradients_at(trained), gradients_at))
            trained = {
                name: trained[name] - np.float32(context.options.learning_rate) * turned[name] for name in trained
            }
        metrics = {"train_loss": loss_of(trained, x, y)}
        return TrainResult(trained, len(y), batches.num_steps, batches.num_epochs, metrics)

    def gradients(self, parameters, data, context):
        return Gradients(loss_of(parameters, *data), gradients_of(parameters, *data))

    def evaluate(self, parameters, data, context):
        x, y = data
        accuracy = float((probabilities_of(parameters, x).argmax(axis=1) == y).mean())
        return Evaluation(loss_of(parameters, x, y), len(y), {"accuracy": accuracy})


def points(seed, number):
    rng = np.random.default_rng(seed)
    y = rng.integers(6, size=number)
    centres = 3 * np.stack([np.cos(y * np.pi / 3), np.sin(y * np.pi / 3)], axis=1)
    return (centres + 0.7 * rng.standard_normal((number, 2))).astype(np.float32), y


def probabilities_of(parameters, x):
    logits = x @ parameters["weights"] + parameters["bias"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def loss_of(parameters, x, y):
    right = probabilities_of(parameters, x)[np.arange(len(y)), y]
    return float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean())


def gradients_of(parameters, x, y):
    errors = (probabilities_of(parameters, x) - np.eye(6, dtype=np.float32)[y]) / np.float32(len(y))
    return {"weights": x.T @ errors, "bias": errors.sum(axis=0)}
