"""FedYogi: Yogi at the orchestrator.

Reddi et al. 2021 (https://arxiv.org/abs/2003.00295), Algorithm 2: v_t = v_{t-1} - (1 - beta_2) d_t² sign(v_{t-1} -
d_t²); the rest is in :mod:`celeriac.algorithms.adaptive`.
"""

from __future__ import annotations

import numpy as np

from celeriac.algorithms.adaptive import adaptive
from celeriac.algorithms.tree_util import Floats


def second_moment(before: Floats, delta: Floats, beta_2: float) -> Floats:
    """Return v_{t-1} - (1 - beta_2) d_t² sign(v_{t-1} - d_t²)."""
    square = delta**2
    moment: Floats = before - (1 - beta_2) * square * np.sign(before - square)
    return moment


FEDYOGI = adaptive("fedyogi", second_moment, server_learning_rate=0.01, beta_1=0.9, beta_2=0.99)
