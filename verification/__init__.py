"""Judging updates: pure functions from arrays to scores and verdicts. Scorers are a file each."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TypeVar

import numpy as np

from tasks.arrays import Array, Arrays
from tasks.errors import FederationError
from tasks.plugins import load_function

SCORERS = {
    "cosine": "verification.cosine:score_cosine",
    "fltrust": "verification.fltrust:score_fltrust",
    "holdout": "verification.holdout:score_holdout",
    "krum": "verification.krum:score_krum",
    "norm": "verification.norm:score_norm",
}
"""Names for ``--verify``, and where each is defined; ``peers`` isn't here because clients do its scoring."""

GLOBAL = "@global"
"""In place of a client id when the round's starting model is scored; no client id begins with ``@``."""
_MOST_NAMED = 5


class ScoringError(FederationError):
    """Raised when a scorer can't score, or returned anything but scores for the updates that it was given."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An update to score.

    Attributes:
        client_id: The client that sent it; no two candidates of a round share it.
        parameters: The parameters after training, not the delta. They have the names, shapes and dtypes of the global
            model and are finite (see :func:`verification.checks.check_update`). Possibly read-only memory maps: a
            scorer changes nothing in them, and reads them a block at a time.
        num_examples: Examples that the client claims to have trained on.
        num_steps: Optimiser steps that the client claims to have taken.
    """

    client_id: str
    parameters: Arrays
    num_examples: int
    num_steps: int


@dataclass(frozen=True, slots=True)
class ScoringContext:
    """Input to a scorer beside the updates.

    Attributes:
        global_parameters: The model that the round started from. Not to be changed.
        evaluate: From parameters to how good they are on the orchestrator's held-out data, more being better: the first
            metric that the workload declares, else the accuracy, or 1 / (1 + loss). NaN where they have none. Raises
            ScoringError if the global model has none. None without such data.
        train_root: Returns parameters after training the global model on the orchestrator's root data. Trains anew at
            each call. None without such data.
        num_byzantine: How many of the candidates may be hostile; from 0.
        rng: Generator derived from the run's seed and the round.
        buffers: Names of the global model's arrays that aren't trained but counted or measured (running statistics).
    """

    global_parameters: Arrays
    evaluate: Callable[[Arrays], float] | None
    train_root: Callable[[], Arrays] | None
    num_byzantine: int
    rng: np.random.Generator
    buffers: frozenset[str] = frozenset()

    @property
    def trained(self) -> dict[str, Array]:
        """The trained arrays of the global model: the origin from which scorers measure deltas."""
        return {name: values for name, values in self.global_parameters.items() if name not in self.buffers}


Scorer = Callable[[Sequence[Candidate], ScoringContext], Mapping[str, float]]
"""From a round's updates, in any order, to a score for each client id; higher is better.

The order of the candidates makes no difference to a score. A client that is left out, or whose score is NaN or
infinite, counts as not scored, and its update is dropped. Infinite scores don't count because they have no median or
difference; a scorer that wants to drop an update for certain leaves it out.
"""

load_scorer: Callable[[str], Scorer] = functools.partial(load_function, "scorer", known=SCORERS)
"""Return a scorer by name or ``module:function``; see :func:`tasks.plugins.load_function`."""

F = TypeVar("F", bound=Scorer)
_ALONE = "scores_alone"


def alone(scorer: F) -> F:
    """Mark a scorer whose score of an update depends on no other update, nor on chance: a decorator.

    The orchestrator's workers then score each update by itself as it arrives, in parallel.
    """
    setattr(scorer, _ALONE, True)
    return scorer


def scores_alone(scorer: Scorer) -> bool:
    """Say whether a scorer is marked as :func:`alone`."""
    return getattr(scorer, _ALONE, False) is True


def checked_scores(scores: object, candidates: Sequence[Candidate]) -> dict[str, float]:
    """Return a scorer's result as finite floats, in the order of ``candidates``.

    Clients that it left out, or scored NaN or infinite, are left out.

    Raises:
        ScoringError: If ``scores`` is no mapping, has a client that is no candidate, or a score that is no number.
    """
    if not isinstance(scores, Mapping):
        raise ScoringError(f"a scorer returned {type(scores).__name__}: a mapping from client ids to scores is allowed")
    known = [candidate.client_id for candidate in candidates]
    strangers = [client_id for client_id in scores if client_id not in set(known)]
    if strangers:
        raise ScoringError(f"a scorer scored {strangers[:_MOST_NAMED]}: only the updates that it was given are allowed")
    numbers = {client_id: _number(client_id, scores[client_id]) for client_id in known if client_id in scores}
    return {client_id: number for client_id, number in numbers.items() if math.isfinite(number)}


def _number(client_id: str, score: object) -> float:
    if isinstance(score, bool) or not isinstance(score, Real):
        raise ScoringError(f"a scorer scored {client_id!r} with {type(score).__name__}: only numbers are allowed")
    try:
        return float(score)
    except OverflowError:  # an integer that no float holds
        return math.inf


def score_of_global(scorer: Scorer, context: ScoringContext) -> float:
    """Return the score of the model that the round started from, scored like an update that changed nothing.

    Raises:
        ScoringError: If the scorer leaves it out.
    """
    unchanged = Candidate(GLOBAL, context.global_parameters, num_examples=0, num_steps=0)
    scores = checked_scores(scorer([unchanged], context), [unchanged])
    if unchanged.client_id not in scores:
        raise ScoringError("the scorer gives the global model no score: a threshold relative to it can't be used")
    return scores[unchanged.client_id]
