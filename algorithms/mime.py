"""Mime: MimeLite, with SVRG's correction of each client's gradients towards all clients'.

Karimireddy et al. 2021 (https://arxiv.org/abs/2008.03606), Algorithm 1 (Mime), with SGD with momentum as its base:

    y_i <- y_i - eta ((1 - beta) (g_i(y_i) - g_i(z) + c) + beta s)      (client; both gradients on the same batch)
    c = mean of grad f_i(z)                                             (orchestrator)
    s <- (1 - beta) c + beta s                                          (orchestrator)

In the paper z is the round's own x, c is the mean over the round's own clients, and clients exchange with the server
twice a round, for c must be known before they train. Here they exchange once: c is the mean gradient of the last
round's updates at z, the model that the last round started from, and both go out with the next model. In the paper the
corrections of a round's clients cancel in their mean at the round's start; here they don't, as c is of other clients,
so the mean step goes along the last round's gradient. Where clients differ, that costs a lot (docs/results.md).
In the first round there is none, and s is zero: clients train as in MimeLite.
"""

from __future__ import annotations

import numpy as np

from algorithms.algorithm import Algorithm, LocalResult, LocalTask, ServerRound, State, equally
from algorithms.mimelite import local as local_of_mimelite
from algorithms.mimelite import next_momentum
from algorithms.trees import combine, floats, zeros_like
from tasks.arrays import Arrays
from tasks.workload import Step


def local(task: LocalTask) -> LocalResult:
    """Train along (1 - beta) (g_i(y) - g_i(z) + c) + beta s; send grad f_i(x)."""
    if "c" not in task.broadcast:
        return local_of_mimelite(task)
    beta = task.settings["momentum"]
    keep = np.float32(1 - beta)
    anchor = {**task.parameters, **task.broadcast["z"]}
    shift = combine(lambda s, c: beta * s + (1 - beta) * c, task.broadcast["s"], task.broadcast["c"])

    def direction(step: Step) -> Arrays:
        at_anchor = step.gradients_at(anchor)
        return {
            name: keep.astype(gradient.dtype) * (gradient - at_anchor[name]) + shift[name]
            for name, gradient in step.gradients.items()
        }

    gradients = {**zeros_like(task.parameters), **task.gradients().arrays}
    return LocalResult(task.train(direction), sent={"g": gradients})


def step(server: ServerRound) -> tuple[Arrays, State]:
    """Return the mean; and the momentum, the mean gradient, and where that was taken."""
    state = {"s": next_momentum(server), "c": server.sent["g"], "z": floats(server.parameters)}
    return server.target, state


MIME = Algorithm(
    name="mime",
    local=local,
    weigh=equally,
    step=step,
    settings={"momentum": 0.9},
    sent=("g",),
    broadcast=("s", "c", "z"),
    needs=("train_along", "gradients"),
)
