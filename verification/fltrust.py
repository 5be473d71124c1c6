"""Scoring by the angle to an update that the orchestrator trained on its own root data, and by the length.

Cao, Fang, Liu, Gong 2021, "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping"
(https://arxiv.org/abs/2012.13995), section IV-B. With a client's delta g_k and the root delta g_0, the trust score is
TS_k = ReLU(<g_k, g_0> / (|g_k| |g_0|)); every delta is scaled to the root's length, |g_0| / |g_k| * g_k (eq. 3), and
the model moves by their mean weighed with TS_k (eq. 4), so that a delta's length doesn't count. Here the threshold
takes an update as it is or drops it, so an update that is too long loses trust instead:

    score_k = TS_k * min(1, l_k / |g_k|)**2,    l_k = max(|g_0|, median_{j != k} |g_j|)

With the square, the default threshold 0.1 takes no update longer than 10**0.5 = 3.2 times l_k. With the first power it
would take up to 10 times l_k, so a fifth of the updates scaled by 10 would pass, having been shorter than others
before. An update shorter than l_k loses nothing: it can do no harm beyond its weight.

In the paper server and clients take equally many steps. Here the number of steps depends on the data: if the root data
is a hundredth of a client's, an honest delta is several times as long as the root's, so the root's length alone is no
measure. Nor is the length per step, as a client could claim more steps to be allowed a longer delta. So the other
clients' median length counts too. It can only raise the limit, and to an honest length at most as long as hostile
clients are a minority. A hostile majority could let scaled updates pass; the angle needs no majority.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celeriac.geometry import Floats, compared, medians_of_others
from verification import Candidate, ScoringContext, ScoringError


def score_fltrust(candidates: Sequence[Candidate], context: ScoringContext) -> dict[str, float]:
    """Return max(0, cosine of a client's delta and the root delta), less for a delta that is too long: 0 to 1.

    An update that changed nothing has the score 0. A single client's length is compared with the root's only.

    Raises:
        ScoringError: If the orchestrator has no root data, or training on it changed nothing.
    """
    if context.train_root is None:
        raise ScoringError("fltrust needs root data of the orchestrator: the workload has none")
    found = compared([candidate.parameters for candidate in candidates], context.train_root(), context.trained)
    if not found.reference_length:
        raise ScoringError("fltrust has no direction to compare with: training on the root data changed nothing")
    scores = np.maximum(0.0, found.cosines) * _shares_allowed(found.lengths, found.reference_length) ** 2
    return {candidate.client_id: float(score) for candidate, score in zip(candidates, scores, strict=True)}


def _shares_allowed(each: Floats, root_length: float) -> Floats:
    """Return the share of each delta's length that is allowed, 0 to 1; shape (K,) like ``each``."""
    allowed = np.full_like(each, root_length)
    if len(each) > 1:
        np.maximum(allowed, medians_of_others(each[:, None])[:, 0], out=allowed)
    shares: Floats = allowed / np.maximum(each, allowed)
    return shares
