"""Scoring by the angle to an update that the orchestrator trained itself, on root data that it trusts.

Cao, Fang, Liu, Gong 2021, "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping"
(https://arxiv.org/abs/2012.13995), section IV-B: the trust score TS_k = ReLU(c_k) with the cosine
c_k = <g_k, g_0> / (|g_k| |g_0|) of the client's delta g_k and the root delta g_0. The paper then scales every delta to
the length of g_0 and weighs it with its trust score; here the threshold alone decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from verification.geometry import cosines, lengths
from verification.scorer import Candidate, ScoringContext, ScoringError


def score_fltrust(candidates: Sequence[Candidate], context: ScoringContext) -> dict[str, float]:
    """Return max(0, cosine of a client's delta and the root delta) for every client: 0 to 1.

    It needs no majority of honest clients. An update that changed nothing has the score 0.

    The angle says nothing about the length: scaled updates pass, other than in the paper.

    Raises:
        ScoringError: If the orchestrator has no root data, or training on it changed nothing.
    """
    if context.train_root is None:
        raise ScoringError("fltrust needs root data of the orchestrator: the workload has none")
    origin = context.global_parameters
    root = context.train_root()
    if not lengths([root], origin).all():
        raise ScoringError("fltrust has no direction to compare with: training on the root data changed nothing")
    found = cosines([candidate.parameters for candidate in candidates], root, origin)
    return {candidate.client_id: max(0.0, float(cosine)) for candidate, cosine in zip(candidates, found, strict=True)}
