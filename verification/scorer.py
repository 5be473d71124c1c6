"""What a scorer gets and returns, and what is checked of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TypeVar

import numpy as np

from tasks.arrays import Array, Arrays
from tasks.errors import FederationError

GLOBAL = "@global"
"""Stands for a client's id where the model that the round started from is scored; no client's id begins like this."""
_MOST_NAMED = 5


class ScoringError(FederationError):
    """Raised when a scorer can't score, or returned something else than scores of the updates that it was given."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An update that is to be scored.

    Attributes:
        client_id: Whose update it is; no two candidates of a round share it.
        parameters: The parameters after training, not the delta. They have the names, shapes and dtypes of the global
            model and are finite (see :func:`verification.checks.check_update`). Possibly read-only memory maps: a
            scorer changes nothing in them, and reads them a block at a time.
        num_examples: Examples that it was trained on, as the client says.
        num_steps: Optimiser's steps that went into it, as the client says.
    """

    client_id: str
    parameters: Arrays
    num_examples: int
    num_steps: int


@dataclass(frozen=True, slots=True)
class ScoringContext:
    """What a scorer may use beside the updates.

    Attributes:
        global_parameters: The model that the round started from. Not to be changed.
        evaluate: From parameters to their accuracy, 0 to 1, on the orchestrator's held-out data; NaN where the
            workload's is no such number. Raises ScoringError if the workload gives none. None if there is no such data.
        train_root: Returns parameters after training the global model on the orchestrator's root data. Trains anew at
            each call. None if there is no such data.
        num_hostile: How many of the candidates may be hostile; from 0.
        rng: Generator derived from the run's seed and the round.
        buffers: Names of the global model's arrays that aren't trained but counted or measured (running statistics).
    """

    global_parameters: Arrays
    evaluate: Callable[[Arrays], float] | None
    train_root: Callable[[], Arrays] | None
    num_hostile: int
    rng: np.random.Generator
    buffers: frozenset[str] = frozenset()

    @property
    def trained(self) -> dict[str, Array]:
        """The arrays of the global model that are trained: the origin from which scorers measure what changed."""
        return {name: values for name, values in self.global_parameters.items() if name not in self.buffers}


Scorer = Callable[[Sequence[Candidate], ScoringContext], Mapping[str, float]]
"""From a round's updates, in any order, to a score for each client id; higher is better.

The order of the candidates makes no difference to a score. A client that is left out, or whose score is NaN or
infinite, counts as not scored, and what is not scored is not taken. Infinities are no scores because no median or
difference can be taken of them; a scorer that wants an update out for good leaves it out.
"""

F = TypeVar("F", bound=Scorer)
_ALONE = "scores_alone"


def alone(scorer: F) -> F:
    """Mark a scorer whose score of an update depends on no other update, nor on chance; to be used as a decorator.

    Its scores are taken as the updates come in, by all the orchestrator's workers at once, each update by itself.
    """
    setattr(scorer, _ALONE, True)
    return scorer


def scores_alone(scorer: Scorer) -> bool:
    """Say whether a scorer is marked as one that scores each update by itself."""
    return getattr(scorer, _ALONE, False) is True


def checked_scores(scores: object, candidates: Sequence[Candidate]) -> dict[str, float]:
    """Return what a scorer returned as finite floats, in the order of ``candidates``.

    Clients that it left out, and those whose score is NaN or infinite, are left out here: they are not scored.

    Raises:
        ScoringError: If ``scores`` is no mapping, has somebody who is not a candidate, or a score that is no number.
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
    """Return the score of the model that the round started from: that of an update which changed nothing.

    Raises:
        ScoringError: If the scorer gives it none.
    """
    unchanged = Candidate(GLOBAL, context.global_parameters, num_examples=0, num_steps=0)
    scores = checked_scores(scorer([unchanged], context), [unchanged])
    if unchanged.client_id not in scores:
        raise ScoringError("the scorer gives the global model no score: a threshold relative to it can't be used")
    return scores[unchanged.client_id]
