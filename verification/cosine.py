"""Scoring by the angle to the others: finds updates that point away from most of the cohort.

The direction of the others is the coordinate-wise median (Yin, Chen, Ramchandran, Bartlett 2018, "Byzantine-Robust
Distributed Learning", https://arxiv.org/abs/1803.01498, Definition 1) of their deltas, each scaled to length 1:

    c_k[i] = median_{j != k}(d_j[i] / |d_j|),    score_k = <d_k, c_k> / (|d_k| |c_k|)

- **The median**: a minority of clients can't move any coordinate beyond the others' values, while a single client can
  move the mean.
- **By coordinate**: this needs one block of each update and no iterations, unlike the geometric median.
- **Of directions**: a scaled update must not weigh more, nor the update of a client with time for a tenth of its steps
  less.
- **Of the others**: every update is itself the median in some coordinates. With the median of all, pure noise among ten
  clients would reach a cosine of 0.1 to 0.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.geometry import cosines_with_others
from verification import Candidate, ScoringContext


def score_cosine(candidates: Sequence[Candidate], context: ScoringContext) -> dict[str, float]:
    """Return the cosine between every client's delta and the direction of the others: -1 to 1.

    A single client's score is 1. Two clients have the same score, the cosine between them: the angle doesn't tell which
    of them is wrong. An update that changed nothing has the score 0, and doesn't count in the others' direction.

    Scaled updates pass: the angle says nothing about the length.
    """
    if len(candidates) == 1:
        return {candidates[0].client_id: 1.0}
    found = cosines_with_others([candidate.parameters for candidate in candidates], context.trained)
    return {candidate.client_id: float(cosine) for candidate, cosine in zip(candidates, found, strict=True)}
