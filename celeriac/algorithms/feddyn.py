"""FedDyn: dynamic regularisation makes the clients' optima agree with the global one.

Acar, Zhao, Navarro, Mattina, Whatmough, Saligrama: Federated Learning Based on Dynamic Regularization, ICLR 2021
(https://arxiv.org/abs/2111.04263), Algorithm 1, with theta the global model, m clients and P of them in the round:

    theta_k = argmin L_k(theta') - <g_k, theta'> + alpha/2 |theta' - theta|²       (client; g_k is grad L_k(theta_k))
    g_k <- g_k - alpha (theta_k - theta)                                           (client)
    h <- h - alpha / m sum_{k in P} (theta_k - theta)                              (orchestrator)
    theta <- mean_{k in P} theta_k - h / alpha                                     (orchestrator)

g_k stays at the client. All means weigh updates equally. m is the number of clients known so far. Because m grows as
clients join, the orchestrator keeps the sum H = m h: so h is the mean of all g_k, whenever a client joined.
"""

from __future__ import annotations

import numpy as np

from celeriac.algorithms import Algorithm, LocalResult, LocalTask, ServerRound, State, equally
from celeriac.algorithms.tree_util import combine, zeros_like
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
    kept = combine(lambda g, w, end: g - alpha * (end - w), own, start, trained.parameters)
    return LocalResult(trained, state=lambda _arrived: {"g": kept})


def step(server: ServerRound) -> tuple[Arrays, State]:
    """Return mean - H / (m alpha), and the new H."""
    alpha, num_updates, num_clients = server.settings["alpha"], server.num_updates, server.num_clients
    before = server.state.get("sum_h") or zeros_like(server.parameters)
    total = combine(lambda h, w, mean: h - alpha * num_updates * (mean - w), before, server.parameters, server.target)
    moved = combine(lambda mean, h: mean - h / (num_clients * alpha), server.target, total)
    return {**server.target, **moved}, {"sum_h": total}


FEDDYN = Algorithm(
    name="feddyn",
    local=local,
    weigh=equally,
    step=step,
    settings={"alpha": 0.1},
    positive=("alpha",),
    keeps=("sum_h",),
    needs=("train_along",),
)
