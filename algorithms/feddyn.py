"""FedDyn: dynamic regularisation makes the clients' optima agree with the global one.

Acar, Zhao, Navarro, Mattina, Whatmough, Saligrama: Federated Learning Based on Dynamic Regularization, ICLR 2021
(https://arxiv.org/abs/2111.04263), Algorithm 1, with theta the global model, m clients and P of them in the round:

    theta_k = argmin L_k(theta') - <g_k, theta'> + alpha/2 |theta' - theta|²       (client; g_k is grad L_k(theta_k))
    g_k <- g_k - alpha (theta_k - theta)                                           (client)
    h <- h - alpha / m sum_{k in P} (theta_k - theta)                              (orchestrator)
    theta <- mean_{k in P} theta_k - h / alpha                                     (orchestrator)

g_k stays at the client. The mean is over the updates, equally.
"""

from __future__ import annotations

import numpy as np

from algorithms.algorithm import Algorithm, LocalResult, LocalTask, ServerRound, State, equally
from algorithms.trees import combine, zeros_like
from tasks.arrays import Arrays
from tasks.workload import Step


def local(task: LocalTask) -> LocalResult:
    """Train along grad L_k(w) - g_k + alpha (w - theta); keep the new g_k."""
    start = task.parameters
    own = task.state.get("g") or zeros_like(start)
    alpha = task.settings["alpha"]
    factor = np.float32(alpha)

    def direction(step: Step) -> Arrays:
        return {
            name: gradient - own[name] + factor.astype(gradient.dtype) * (step.parameters[name] - start[name])
            for name, gradient in step.gradients.items()
        }

    trained = task.train(direction)
    kept = combine(lambda w, end, g: g - alpha * (end - w), start, trained.parameters, own)
    return LocalResult(trained, state={"g": kept})


def step(server: ServerRound) -> tuple[Arrays, State]:
    """Return mean - h / alpha, and the new h."""
    alpha = server.settings["alpha"]
    share = server.num_updates / server.num_clients
    before = server.state.get("h") or zeros_like(server.parameters)
    h = combine(lambda w, mean, h: h - alpha * share * (mean - w), server.parameters, server.target, before)
    moved = combine(lambda mean, h: mean - h / alpha, server.target, h)
    return {**server.target, **moved}, {"h": h}


FEDDYN = Algorithm(name="feddyn", local=local, weigh=equally, step=step, settings={"alpha": 0.1}, positive=("alpha",))
