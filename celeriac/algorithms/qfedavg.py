"""q-FedAvg: clients with a high loss weigh more, so that accuracy spreads evenly.

Li, Sanjabi, Beirami, Smith: Fair Resource Allocation in Federated Learning, ICLR 2020
(https://arxiv.org/abs/1905.10497), Algorithm 2, with w the global model, F_k client k's loss at w, L = 1 / eta_l:

    dw_k = L (w - w_k)
    D_k = F_k^q dw_k,    h_k = q F_k^(q-1) |dw_k|² + L F_k^q
    w <- w - sum_k D_k / sum_k h_k

which is a step of ``scale = L sum_k F_k^q / sum_k h_k`` towards the mean of the w_k weighted by F_k^q. The paper draws
clients in proportion to their examples. Selectors here may draw otherwise, so D_k and h_k are multiplied by n_k. With
q = 0 it is FedAvg.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from celeriac.algorithms import Algorithm, LocalResult, LocalTask, Settings, UpdateInfo, Weights
from tasks.messages import TrainOptions

LOSS = "start_loss"
LEAST_LOSS = 1e-10
"""Least loss that is used, also for a missing one: powers of zero can't be divided by."""
MOST_TIMES_MEDIAN = 100.0
"""A loss counts as at most this many times the median: a client could claim a high loss to weigh more."""


def local(task: LocalTask) -> LocalResult:
    """Train as in FedAvg, and send F_k(w)."""
    loss = task.loss()
    return LocalResult(task.train(None), metrics={LOSS: loss})


def weigh(updates: Sequence[UpdateInfo], options: TrainOptions, settings: Settings) -> Weights:
    """Return n_k F_k^q, and the scale."""
    q, lipschitz = settings["q"], 1 / options.learning_rate
    losses = _losses(updates)
    # Numerator and denominator are divided by (largest loss)^q, so that no power overflows.
    largest = max(losses)
    weights, denominator = [], 0.0
    for update, loss in zip(updates, losses, strict=True):
        weight = update.num_examples * (loss / largest) ** q
        square = lipschitz**2 * update.squared_distance() if q else 0.0
        denominator += weight * (q / loss * square + lipschitz)
        weights.append(weight)
    return Weights(weights, scale=lipschitz * sum(weights) / denominator)


def _losses(updates: Sequence[UpdateInfo]) -> list[float]:
    losses = [max(update.metrics.get(LOSS, 0.0), LEAST_LOSS) for update in updates]
    most = MOST_TIMES_MEDIAN * median(losses)
    return [min(loss, most) for loss in losses]


QFEDAVG = Algorithm(name="qfedavg", local=local, weigh=weigh, settings={"q": 1.0})
