"""Scoring by the angle to the others: finds updates that point elsewhere than most of the cohort.

The direction of the others is the coordinate-wise median (Yin, Chen, Ramchandran, Bartlett 2018, "Byzantine-Robust
Distributed Learning", https://arxiv.org/abs/1803.01498, Definition 1) of their deltas, each scaled to length 1:

    c_k[i] = median_{j != k}(d_j[i] / |d_j|),    score_k = <d_k, c_k> / (|d_k| |c_k|)

The median, because fewer than half of the clients can't move any coordinate beyond the others' values, while the mean
follows a single one; coordinate by coordinate, because that needs one block of each update and no iterations, as the
geometric median does. Of directions, because lengths must not matter to a score that doesn't look at them: neither
does an update that was scaled up weigh more, nor that of a client which had time for a tenth of its steps weigh less.
Of the others, because every update is the median in some coordinates, which alone gives pure noise among ten clients
a cosine of some 0.1 to 0.2 with the median of all.
"""

from __future__ import annotations

from collections.abc import Sequence

from verification.geometry import cosines_with_others
from verification.scorer import Candidate, ScoringContext


def score_cosine(candidates: Sequence[Candidate], context: ScoringContext) -> dict[str, float]:
    """Return the cosine between every client's delta and the direction of the others: -1 to 1.

    One client alone has nobody to disagree with: its score is 1. Two clients have the same score, the cosine between
    them, as nobody can say which of them is wrong. An update that changed nothing points nowhere: its score is 0, and
    it has no say in the others' direction.

    The angle says nothing about the length: scaled updates pass.
    """
    if len(candidates) == 1:
        return {candidates[0].client_id: 1.0}
    found = cosines_with_others([candidate.parameters for candidate in candidates], context.trained)
    return {candidate.client_id: float(cosine) for candidate, cosine in zip(candidates, found, strict=True)}
