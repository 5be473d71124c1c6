"""FedAdagrad: Adagrad at the orchestrator.

Reddi et al. 2021 (https://arxiv.org/abs/2003.00295), Algorithm 2: v_t = v_{t-1} + d_t²; the rest is in
:mod:`celeriac.algorithms.adaptive`. As in the paper's experiments, beta_1 is 0.
"""

from __future__ import annotations

from celeriac.algorithms.adaptive import adaptive
from celeriac.algorithms.tree_util import Floats


def second_moment(before: Floats, delta: Floats, _beta_2: float) -> Floats:
    """Return v_{t-1} + d_t²."""
    return before + delta**2


FEDADAGRAD = adaptive("fedadagrad", second_moment, server_learning_rate=0.03, beta_1=0.0)
