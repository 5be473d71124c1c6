"""Thresholds: the least score that is kept, as a number or relative to other scores.

===================================  =================================================================
``0.9``                              scores of at least 0.9
``global``, ``-0.02``, ``*0.9``      at least the global model's own score, this score less 0.02, 90 % of it
``median``, ``-0.02``, ``*0.9``      likewise with the median of the round's scores; where scores are
                                     negative (norm, krum), ``median*2`` is twice as far off
``mad:3``                            no outlier below: at least median - 3 * 1.4826 * MAD of the round's scores
``mad2:3``                           no outlier below or above: at most the same distance above the median, too
``best:70%``                         the best 70 % of the scores, rounded up: seven of ten
``best:n-f``                         all but the worst ``--num-byzantine``: of ten with three hostile the best seven
``module:function``                  the user's own
===================================  =================================================================

MAD is the median of the scores' distances to their median; 1.4826 MAD is the standard deviation of normally distributed
scores (Rousseeuw, Croux 1993, "Alternatives to the Median Absolute Deviation"). If more than half of the scores are
equal, MAD is 0, and all scores below the median are dropped. One or two scores are never outliers.

A score that misses a limit by a billionth of it or less is kept, so that rounding decides nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigurationError
from tasks.plugins import load_function
from verification import ScoringError

OwnRule = Callable[[Mapping[str, float], float | None], Collection[str]]
"""A user's threshold: from scores by client and the global model's score (None if it has none) to the kept clients."""

DEFAULT_THRESHOLDS = {
    "cosine": "0.1",
    "fltrust": "0.1",
    "holdout": "median*0.95",
    "krum": "best:n-f",
    "norm": "mad:3",
    "peers": "median*0.9",
}
"""Each scorer's threshold if none is given, chosen for about ten clients, up to three of them hostile.

- cosine, fltrust: a flipped sign scores below 0, and pure noise in d parameters around 0 with a standard deviation of
  d**-0.5, so 0.1 is three standard deviations for 900 parameters, and more for more. It needs no majority. MAD doesn't
  work here: with three of ten far off, three times the honest updates' spread reaches down to 0.
- holdout, peers: within 5 % of the median; for peers, who have less data and differ in it, within 10 %. Not
  relative to the global model: one client's model is often worse than the mean of ten, so honest updates would be
  dropped, and the first round's global model is as bad as noise.
- krum: Multi-Krum with m = n - f (Blanchard et al. 2017, section 4), which drops f honest updates if none is hostile.
  Not relative to the median: flipped signs of an honest length stand out by little, and a limit that drops them would
  also drop an eighth of the honest updates when hostile ones are far off.
- norm: honest deltas have similar lengths and hostile ones are several times longer, so outliers are clear.
"""

WITHOUT_GLOBAL_SCORE = frozenset({"cosine", "fltrust", "krum", "norm", "peers"})
"""Scorers without a score for the global model: they score changes to it, or don't get to see it."""

ALLOWED = (
    "a number (0.9), global or median by itself, less or times a number (global-0.02, median*0.9), "
    "mad:3, mad2:3, best:70%, best:n-f, or your own as module:function"
)

_KINDS = ("mad", "mad2", "best")
_NORMAL = 1.4826
_ROUNDING = 1e-9
_ALL_PERCENT = 100
_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})"
_ABSOLUTE = re.compile(rf"[+-]?{_NUMBER}(?:[eE][+-]?[0-9]+)?")
_RELATIVE = re.compile(rf"(global|median)(?:\s*([-+*])\s*{_NUMBER})?")
_OUTLIERS = re.compile(rf"(mad2?):{_NUMBER}")
_BUT_HOSTILE = "best:n-f"
_BEST = re.compile(rf"best:{_NUMBER}%")


@dataclass(frozen=True, slots=True)
class Absolute:
    """Keeps scores of at least ``limit``."""

    limit: float


@dataclass(frozen=True, slots=True)
class Relative:
    """Keeps scores of at least ``factor * reference + offset``; ``reference`` is ``global`` or ``median``."""

    reference: str
    factor: float
    offset: float


@dataclass(frozen=True, slots=True)
class Outliers:
    """Keeps scores down to ``width`` robust standard deviations below the median; above it too if ``two_sided``."""

    width: float
    two_sided: bool


@dataclass(frozen=True, slots=True)
class Best:
    """Keeps the best ``share`` of the scores, 0 to 1, rounded up, and all scores equal to the last of them."""

    share: Fraction


@dataclass(frozen=True, slots=True)
class ButHostile:
    """Keeps the best n - f of n scores, where f updates may be hostile, and all scores equal to the last of them."""


@dataclass(frozen=True, slots=True)
class Own:
    """Keeps the clients that the user's function returns."""

    function: OwnRule


Rule = Absolute | Relative | Outliers | Best | ButHostile


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold: its ``rule``, and the ``text`` that it was parsed from, which is also its ``str``."""

    text: str
    rule: Rule | Own

    @property
    def needs_global(self) -> bool:
        """Whether the global model must be scored too (:func:`verification.score_of_global`)."""
        return isinstance(self.rule, Relative) and self.rule.reference == "global"

    @property
    def needs_num_byzantine(self) -> bool:
        """Whether it depends on ``--num-byzantine``: with 0 it would keep all."""
        return isinstance(self.rule, ButHostile)

    def __str__(self) -> str:
        return self.text


def parse_threshold(text: str) -> Threshold:
    """Parse a threshold in one of the module's forms but ``module:function``, which :func:`load_threshold` takes too.

    Raises:
        ConfigurationError: If ``text`` has none of these forms.
    """
    stripped = text.strip()
    return Threshold(stripped, _rule(stripped))


def _rule(text: str) -> Rule:
    if _ABSOLUTE.fullmatch(text) and math.isfinite(float(text)):
        return Absolute(float(text))
    if match := _RELATIVE.fullmatch(text):
        return _relative(*match.groups())
    if (match := _OUTLIERS.fullmatch(text)) and float(match[2]) > 0:
        return Outliers(float(match[2]), two_sided=match[1] == "mad2")
    if text == _BUT_HOSTILE:
        return ButHostile()
    if (match := _BEST.fullmatch(text)) and 0 < Fraction(match[1]) <= _ALL_PERCENT:
        return Best(Fraction(match[1]) / _ALL_PERCENT)
    raise ConfigurationError(f"threshold {text!r}: allowed are {ALLOWED}")


def _relative(reference: str, operator: str | None, number: str | None) -> Relative:
    value = float(number or 0)
    if operator == "*":
        return Relative(reference, value, 0.0)
    return Relative(reference, 1.0, -value if operator == "-" else value)


def load_threshold(text: str) -> Threshold:
    """Parse a threshold in any of the module's forms; a user's own ``module:function`` is imported.

    Raises:
        ConfigurationError: If ``text`` has none of these forms, or the user's function can't be imported or called.
    """
    stripped = text.strip()
    module, colon, name = stripped.partition(":")
    if not (colon and module not in _KINDS and name.isidentifier()):
        return parse_threshold(text)
    return Threshold(stripped, Own(cast(OwnRule, load_function("threshold", stripped, {}))))


def default_threshold(scorer: str) -> Threshold:
    """Return a scorer's default threshold.

    Raises:
        ConfigurationError: If the scorer is the user's own, whose scores could mean anything.
    """
    if scorer not in DEFAULT_THRESHOLDS:
        raise ConfigurationError(f"scorer {scorer!r} needs a --threshold: {ALLOWED}")
    return parse_threshold(DEFAULT_THRESHOLDS[scorer])


def check_threshold(scorer: str, threshold: Threshold) -> None:
    """Check that a threshold makes sense for a scorer.

    Raises:
        ConfigurationError: If it is relative to the global model and the scorer gives that no score.
    """
    if threshold.needs_global and scorer in WITHOUT_GLOBAL_SCORE:
        raise ConfigurationError(
            f"threshold {str(threshold)!r} is relative to the global model's score, and scorer {scorer!r} "
            f"gives it none: allowed are all others, as {DEFAULT_THRESHOLDS[scorer]}"
        )


def kept(
    scores: Mapping[str, float], threshold: Threshold, global_score: float | None = None, num_byzantine: int = 0
) -> set[str]:
    """Return the clients whose scores reach the threshold.

    Args:
        scores: Finite scores by client; a client without a score isn't kept.
        threshold: The threshold.
        global_score: The score of the model that the round started from; None if it has none.
        num_byzantine: How many of the scored clients may be hostile; from 0.

    Raises:
        ScoringError: If the threshold needs the global model's score and there is none, or the user's own threshold
            keeps a client without a score.
    """
    if not scores:
        return set()
    if isinstance(threshold.rule, Own):
        return _checked(threshold, threshold.rule.function(scores, global_score), scores)
    low, high = _limits(np.array(list(scores.values()), np.float64), threshold.rule, global_score, num_byzantine)
    return {client_id for client_id, score in scores.items() if low <= score <= high}


def _checked(threshold: Threshold, found: object, scores: Mapping[str, float]) -> set[str]:
    if not isinstance(found, Collection) or isinstance(found, str) or not all(each in scores for each in found):
        raise ScoringError(f"threshold {str(threshold)!r} kept {found!r}: some of {sorted(scores)} are allowed")
    return set(found)


def _limits(
    scores: npt.NDArray[np.float64], rule: Rule, global_score: float | None, num_byzantine: int
) -> tuple[float, float]:
    """Return the least and the largest score to keep."""
    match rule:
        case Absolute(limit):
            return _below(limit, limit), math.inf
        case Relative(reference, factor, offset):
            origin = float(np.median(scores)) if reference == "median" else _needed(global_score)
            limit = factor * origin + offset
            return _below(limit, origin), math.inf
        case Outliers(width, two_sided):
            middle = float(np.median(scores))
            spread = width * _NORMAL * float(np.median(np.abs(scores - middle)))
            high = -_below(-middle - spread, middle) if two_sided else math.inf
            return _below(middle - spread, middle), high
        case Best(share):
            return _least_of_best(scores, math.ceil(share * len(scores))), math.inf
        case ButHostile():
            return _least_of_best(scores, len(scores) - num_byzantine), math.inf


def _least_of_best(scores: npt.NDArray[np.float64], num: int) -> float:
    """Return the least of the best ``num`` scores; infinity, which no score reaches, if ``num`` is 0 or less."""
    return float(np.sort(scores)[-num]) if num > 0 else math.inf


def _below(limit: float, origin: float) -> float:
    """Return ``limit`` less the rounding error that its computation from ``origin`` may have added."""
    return limit - _ROUNDING * max(abs(limit), abs(origin))


def _needed(global_score: float | None) -> float:
    if global_score is None:
        raise ScoringError("the threshold is relative to the global model's score, and there is none")
    return global_score
