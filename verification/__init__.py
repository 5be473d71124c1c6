"""Judging updates: pure functions from arrays to scores and verdicts. Scorers are a file each."""

from __future__ import annotations

from typing import cast

from tasks.plugins import load_function
from verification.scorer import (
    Candidate,
    Scorer,
    ScoringContext,
    ScoringError,
    alone,
    checked_scores,
    score_of_global,
    scores_alone,
)

SCORERS = {
    "cosine": "verification.cosine:score_cosine",
    "fltrust": "verification.fltrust:score_fltrust",
    "holdout": "verification.holdout:score_holdout",
    "krum": "verification.krum:score_krum",
    "norm": "verification.norm:score_norm",
}
"""Names for ``--verify``, and where each is defined; ``peers`` isn't here because clients do its scoring."""

__all__ = [
    "SCORERS",
    "Candidate",
    "Scorer",
    "ScoringContext",
    "ScoringError",
    "alone",
    "checked_scores",
    "load_scorer",
    "score_of_global",
    "scores_alone",
]


def load_scorer(spec: str) -> Scorer:
    """Return a scorer by name or ``module:function``.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported or can't be called.
    """
    return cast(Scorer, load_function("scorer", spec, SCORERS))
