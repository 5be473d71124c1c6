"""FedAvgM: momentum at the orchestrator.

Hsu, Qi, Brown: Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification, 2019
(https://arxiv.org/abs/1909.06335), section 4.3: v <- beta v + dw, w <- w - v, where dw is the clients' weighted mean
change (here with the opposite sign, so it is added). With momentum 0 and a learning rate of 1 it is FedAvg.
"""

from __future__ import annotations

from celeriac.algorithms import Algorithm, ServerRound, State
from celeriac.algorithms.tree_util import combine, zeros_like
from tasks.arrays import Arrays


def step(server: ServerRound) -> tuple[Arrays, State]:
    """Return w + eta v and v, with v = beta v + (target - w)."""
    beta, eta = server.settings["momentum"], server.settings["server_learning_rate"]
    before = server.state.get("v") or zeros_like(server.parameters)
    velocity = combine(lambda v, w, target: beta * v + (target - w), before, server.parameters, server.target)
    # In this form a learning rate of 1 without momentum gives the target to the last bit.
    moved = combine(
        lambda w, target, v: (1 - eta) * w + eta * target + eta * beta * v, server.parameters, server.target, before
    )
    return {**server.target, **moved}, {"v": velocity}


FEDAVGM = Algorithm(name="fedavgm", step=step, settings={"momentum": 0.9, "server_learning_rate": 1.0})
