"""FedYogi: Yogi at the orchestrator.

Reddi et al. 2021 (https://arxiv.org/abs/2003.00295), Algorithm 2: v_t = v_{t-1} - (1 - beta_2) d_t² sign(v_{t-1} -
d_t²); the rest is in :mod:`celeriac.algorithms.adaptive`.
"""

from __future__ import annotations

import numpy as np

from celeriac.algorithms import Algorithm, ServerRound, State
from celeriac.algorithms.adaptive import adaptive_step
from celeriac.algorithms.tree_util import Floats
from tasks.arrays import Arrays


def second_moment(before: Floats, delta: Floats, beta_2: float) -> Floats:
    """Return v_{t-1} - (1 - beta_2) d_t² sign(v_{t-1} - d_t²)."""
    square = delta**2
    moment: Floats = before - (1 - beta_2) * square * np.sign(before - square)
    return moment


def step(server: ServerRound) -> tuple[Arrays, State]:
    """Return the new parameters and moments."""
    return adaptive_step(server, second_moment)


FEDYOGI = Algorithm(
    name="fedyogi",
    step=step,
    settings={"server_learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.99, "tau": 1e-3},
    positive=("tau",),
)
