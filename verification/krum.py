"""Scoring by the distance to the nearest updates: finds updates that are far from most others, for whatever reason.

Blanchard, El Mhamdi, Guerraoui, Stainer 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient
Descent" (NIPS 2017), section 4: with n updates, f of them hostile, s(i) = sum of |V_i - V_j|² over the n - f - 2
updates V_j nearest to V_i. Krum takes the update with the least s, Multi-Krum the m best; here the threshold says how
many.
"""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.geometry import squared_distances, sums_of_nearest
from verification import Candidate, ScoringContext, ScoringError


def score_krum(candidates: Sequence[Candidate], context: ScoringContext) -> dict[str, float]:
    """Return minus the sum of squared distances to the n - f - 2 nearest, f being ``context.num_byzantine``.

    Raises:
        ScoringError: If n < 2f + 3. Krum guarantees nothing then (Proposition 4.2 asks for 2f + 2 < n): f similar
            updates could be each other's nearest. f isn't lowered instead, because hostile clients could then lower it
            by keeping others from answering.
    """
    num_byzantine = context.num_byzantine
    if len(candidates) < 2 * num_byzantine + 3:
        raise ScoringError(
            f"krum has {len(candidates)} updates of which {num_byzantine} may be hostile: "
            f"at least {2 * num_byzantine + 3} are needed"
        )
    # Sorted, so that the scores don't depend on the candidates' order, to the last bit.
    ordered = sorted(candidates, key=lambda candidate: candidate.client_id)
    distances = squared_distances([candidate.parameters for candidate in ordered], context.trained)
    sums = sums_of_nearest(distances, len(ordered) - num_byzantine - 2)
    return {candidate.client_id: -float(total) for candidate, total in zip(ordered, sums, strict=True)}
