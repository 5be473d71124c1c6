"""Adaptive optimisers at the orchestrator: the step that FedAdagrad, FedAdam and FedYogi share.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan: Adaptive Federated Optimization, ICLR 2021
(https://arxiv.org/abs/2003.00295), Algorithm 2:

    m_t = beta_1 m_{t-1} + (1 - beta_1) d_t                 d_t is the clients' mean change
    v_t = the algorithm's own                               v_{-1} = tau²
    x_{t+1} = x_t + eta m_t / (sqrt(v_t) + tau)

The moments' bias is not corrected. d_t is weighted by examples, as in the paper's experiments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from celeriac.algorithms import Algorithm, ServerRound, State
from celeriac.algorithms.tree_util import Floats, combine, zeros_like
from tasks.arrays import Arrays

SecondMoment = Callable[[Floats, Floats, float], Floats]
"""From v_{t-1}, d_t and beta_2 to v_t."""


def adaptive(name: str, second_moment: SecondMoment, **settings: float) -> Algorithm:
    """Return the algorithm with this second moment and these settings beside tau, 0.001."""
    step = partial(_step, second_moment=second_moment)
    return Algorithm(name, step=step, settings={**settings, "tau": 1e-3}, positive=("tau",))


def _step(server: ServerRound, second_moment: SecondMoment) -> tuple[Arrays, State]:
    """Return x_{t+1} and the moments m_t and v_t."""
    x, target = server.parameters, server.target
    beta_1, beta_2 = server.settings["beta_1"], server.settings.get("beta_2", 0.0)
    eta, tau = server.settings["server_learning_rate"], server.settings["tau"]
    m = server.state.get("m") or zeros_like(x)
    v = server.state.get("v") or combine(lambda w: np.full_like(w, tau**2), zeros_like(x))
    m = combine(lambda before, w, goal: beta_1 * before + (1 - beta_1) * (goal - w), m, x, target)
    v = combine(lambda before, w, goal: second_moment(before, goal - w, beta_2), v, x, target)
    moved = combine(lambda w, first, second: w + eta * first / (np.sqrt(second) + tau), x, m, v)
    return {**target, **moved}, {"m": m, "v": v}
