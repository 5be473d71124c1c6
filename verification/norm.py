"""Scoring by the length of the delta: finds updates that were scaled up or are made of large noise.

Sun, Kairouz, Suresh, McMahan 2019, "Can You Really Backdoor Federated Learning?" (https://arxiv.org/abs/1911.07963),
norm thresholding: an update that is to outvote many others has to be long, so the server bounds |x_k - x| by M. The
paper scales down what is longer; here it is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from verification.geometry import lengths
from verification.scorer import Candidate, ScoringContext, alone


@alone
def score_norm(candidates: Sequence[Candidate], context: ScoringContext) -> dict[str, float]:
    """Return -|x_k - x|, the L2 norm of the trained delta with a minus, for every client k; x is the global model.

    Too long a delta is a low score. One that is too short is a high score, and is taken by the default threshold: it
    can do no harm beyond its weight in the average, and a client that had time for a tenth of its steps has a short
    delta too. Clients that send back the global model to save the work are found by a threshold with two sides
    (``mad2:3``), which drops such stragglers as well.

    A delta's length says nothing about where it points: sign flip and label flip pass.
    """
    found = lengths([candidate.parameters for candidate in candidates], context.trained)
    return {candidate.client_id: -float(length) for candidate, length in zip(candidates, found, strict=True)}
