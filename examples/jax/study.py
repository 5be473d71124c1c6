"""A net with a hidden layer in JAX: which digit was written?"""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from celeriac import ClientData, Evaluation, TrainResult, Workload

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)


def logits_of(model, x):
    return jax.nn.relu(x @ model["w1"] + model["b1"]) @ model["w2"] + model["b2"]


@jax.jit
def loss_of(model, x, y):
    return -jax.nn.log_softmax(logits_of(model, x))[jnp.arange(len(y)), y].mean()


@jax.jit
def step(model, x, y, learning_rate):
    gradients = jax.grad(loss_of)(model, x, y)
    return {name: model[name] - learning_rate * gradients[name] for name in model}


class Study(Workload):
    def initial_parameters(self, context):
        layers = {"w1": (64, 32), "b1": (32,), "w2": (32, 10), "b2": (10,)}
        return {name: 0.1 * context.rng.standard_normal(shape, np.float32) for name, shape in layers.items()}

    def client_data(self, source):
        mine = slice(source.part.index, None, source.part.count)
        return ClientData(train=(X[:1200][mine], Y[:1200][mine]), test=(X[1200:1500][mine], Y[1200:1500][mine]))

    def holdout_data(self, folder):
        return X[1500:], Y[1500:]

    def train(self, parameters, data, context):
        x, y = data
        model, batches = dict(parameters), context.batches(len(y))
        for rows in batches:
            model = step(model, x[rows], y[rows], context.options.learning_rate)
        trained = {name: np.asarray(values) for name, values in model.items()}
        return TrainResult(trained, len(y), batches.num_steps, batches.num_epochs)

    def evaluate(self, parameters, data, context):
        x, y = data
        right = logits_of(parameters, x).argmax(axis=1) == y
        return Evaluation(float(loss_of(parameters, x, y)), len(y), {"accuracy": float(right.mean())})
