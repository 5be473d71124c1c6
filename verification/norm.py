"""Scoring by the length of the delta: finds updates that were scaled up or are made of large noise.

Sun, Kairouz, Suresh, McMahan 2019, "Can You Really Backdoor Federated Learning?" (https://arxiv.org/abs/1911.07963),
norm thresholding: an update must be long to outvote many others, so the server bounds |x_k - x| by M. The paper scales
longer updates down; here the threshold drops them.
"""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.geometry import lengths
from verification import Candidate, ScoringContext, alone


@alone
def score_norm(candidates: Sequence[Candidate], context: ScoringContext) -> dict[str, float]:
    """Return -|x_k - x|, minus the L2 norm of the trained delta, for every client k; x is the global model.

    A long delta has a low score. A short one has a high score, and the default threshold takes it: it can do no harm
    beyond its weight in the average, and a client with time for a tenth of its steps sends a short delta too. A
    two-sided threshold (``mad2:3``) finds clients that save the work and send the global model back, but it also drops
    such slow clients.

    Flipped signs and flipped labels pass: a delta's length says nothing about its direction.
    """
    found = lengths([candidate.parameters for candidate in candidates], context.trained)
    return {candidate.client_id: -float(length) for candidate, length in zip(candidates, found, strict=True)}
