"""MimeLite: clients step with the orchestrator's momentum, which they don't change.

Karimireddy, Jaggi, Kale, Mohri, Reddi, Stich, Suresh: Breaking the centralized barrier for cross-device federated
learning, NeurIPS 2021 (https://arxiv.org/abs/2008.03606), Algorithm 1 (MimeLite) with SGD with momentum as its base:

    y_i <- y_i - eta ((1 - beta) g_i(y_i) + beta s)             (client; s is the same in all steps)
    x <- mean of the y_i                                        (orchestrator)
    s <- (1 - beta) mean of grad f_i(x) + beta s                (orchestrator; at the x that the round started from)

grad f_i(x), over all of a client's examples, comes with its update. All means weigh updates equally.
"""

from __future__ import annotations

import numpy as np

from celeriac.algorithms import Algorithm, LocalResult, LocalTask, ServerRound, State, equally
from celeriac.algorithms.tree_util import combine, zeros_like
from tasks.arrays import Arrays
from tasks.workload import Step


def local(task: LocalTask) -> LocalResult:
    """Train along (1 - beta) g_i(y) + beta s; send grad f_i(x)."""
    beta = task.settings["momentum"]
    keep = np.float32(1 - beta)
    momentum = combine(lambda s: beta * s, task.broadcast.get("s") or zeros_like(task.parameters))

    def direction(step: Step) -> Arrays:
        return {
            name: keep.astype(gradient.dtype) * gradient + momentum[name] for name, gradient in step.gradients.items()
        }

    gradients = {**zeros_like(task.parameters), **task.gradients().arrays}
    return LocalResult(task.train(direction), sent={"g": gradients})


def step(server: ServerRound) -> tuple[Arrays, State]:
    """Return the mean, and (1 - beta) mean gradient + beta s."""
    return server.target, {"s": next_momentum(server, server.sent["g"])}


def next_momentum(server: ServerRound, mean_gradient: Arrays) -> Arrays:
    """Return (1 - beta) mean gradient + beta s."""
    beta = server.settings["momentum"]
    before = server.state.get("s") or zeros_like(server.parameters)
    return combine(lambda s, gradient: (1 - beta) * gradient + beta * s, before, mean_gradient)


MIMELITE = Algorithm(
    name="mimelite",
    local=local,
    weigh=equally,
    step=step,
    settings={"momentum": 0.9},
    sent=("g",),
    broadcast=("s",),
    needs=("train_along", "gradients", "plain_sgd"),
)
