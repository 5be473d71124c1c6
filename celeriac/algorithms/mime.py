"""Mime: MimeLite, with SVRG's correction of each client's gradients towards all clients'.

Karimireddy, Jaggi, Kale, Mohri, Reddi, Stich, Suresh: Breaking the centralized barrier for cross-device federated
learning, NeurIPS 2021 (https://arxiv.org/abs/2008.03606), Algorithm 1 (Mime), with SGD with momentum as its base and x
the model that the round starts from:

    c = mean of grad f_i(x)                                             (first exchange; over the round's clients)
    y_i <- y_i - eta ((1 - beta) (g_i(y_i) - g_i(x) + c) + beta s)      (client; both gradients on the same batch)
    x <- mean of the y_i                                                (orchestrator)
    s <- (1 - beta) c + beta s                                          (orchestrator)

grad f_i(x) is over all of a client's examples, and all means weigh clients equally. A round has two exchanges, because
clients need c before they train: their corrections c - grad f_i(x) cancel in the mean at x only if c comes from the
same clients. s is zero in the first round. In the paper no client fails; here c is the mean over all clients that
finished the first exchange, and x over the clients among them whose updates were accepted.
"""

from __future__ import annotations

import numpy as np

from celeriac.algorithms import Algorithm, LocalResult, LocalTask, ServerRound, State, equally
from celeriac.algorithms.mimelite import next_momentum
from celeriac.algorithms.tree_util import combine, zeros_like
from tasks.arrays import Arrays
from tasks.workload import Step


def survey(task: LocalTask) -> State:
    """Return grad f_i(x)."""
    return {"c": {**zeros_like(task.parameters), **task.gradients().arrays}}


def local(task: LocalTask) -> LocalResult:
    """Train along (1 - beta) (g_i(y) - g_i(x) + c) + beta s."""
    beta = task.settings["momentum"]
    keep = np.float32(1 - beta)
    momentum = task.broadcast.get("s") or zeros_like(task.parameters)
    shift = combine(lambda s, c: beta * s + (1 - beta) * c, momentum, task.broadcast["c"])

    def direction(step: Step) -> Arrays:
        at_start = step.gradients_at(task.parameters)
        return {
            name: keep.astype(gradient.dtype) * (gradient - at_start[name]) + shift[name]
            for name, gradient in step.gradients.items()
        }

    return LocalResult(task.train(direction))


def step(server: ServerRound) -> tuple[Arrays, State]:
    """Return the mean, and (1 - beta) c + beta s."""
    return server.target, {"s": next_momentum(server, server.surveyed["c"])}


MIME = Algorithm(
    name="mime",
    local=local,
    weigh=equally,
    step=step,
    settings={"momentum": 0.9},
    broadcast=("s",),
    survey=survey,
    surveyed=("c",),
    needs=("train_along", "gradients", "plain_sgd"),
)
