"""Scoring by how good a model is on data that the orchestrator holds out: finds any update that makes the model worse.

Xie, Koyejo, Gupta 2019, "Zeno: Distributed Stochastic Gradient Descent with Suspicion-based Fault-tolerance"
(https://arxiv.org/abs/1805.10032), scores an update by how far it lowers the loss on a few samples of the server's
(the stochastic descendant score). Here the score is the metric that the workload goes by, like the accuracy, of the
client's model; the length doesn't count.
"""

from __future__ import annotations

from collections.abc import Sequence

from verification import Candidate, ScoringContext, ScoringError, alone


@alone
def score_holdout(candidates: Sequence[Candidate], context: ScoringContext) -> dict[str, float]:
    """Return how good every client's parameters are on the held-out data.

    It takes one evaluation a candidate, and none depends on another.

    Raises:
        ScoringError: If the orchestrator has no held-out data, or the workload nothing to score by.
    """
    if context.evaluate is None:
        raise ScoringError("holdout needs held-out data of the orchestrator: the workload has none")
    return {candidate.client_id: float(context.evaluate(candidate.parameters)) for candidate in candidates}
