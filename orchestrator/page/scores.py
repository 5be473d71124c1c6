"""Updates' scores beside the thresholds that they are kept by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.config import RunConfig
from orchestrator.page.round_view import RoundView, SlotState
from tasks.metrics import digits
from verification.thresholds import DEFAULT_THRESHOLDS


@dataclass(frozen=True, slots=True)
class Dot:
    """A score: whose, where on the line in percent, what it is, and whether the update was rejected."""

    client_id: str
    at: float
    value: str
    is_rejected: bool


@dataclass(frozen=True, slots=True)
class Scale:
    """The scores of one scorer.

    Attributes:
        scorer: Its name.
        threshold: The run's threshold for it, as it is set.
        threshold_at: Where that is on the line, in percent; None if it isn't a number.
        least: The least number of the line.
        most: The greatest.
        dots: The scores.
    """

    scorer: str
    threshold: str
    threshold_at: float | None
    least: str
    most: str
    dots: Sequence[Dot]


def scales_of(view: RoundView, config: RunConfig) -> list[Scale]:
    """Return the scores of a round, a scale a scorer."""
    thresholds = {name: text or DEFAULT_THRESHOLDS.get(name, "") for name, text in config.scorers()}
    scorers = dict.fromkeys((*thresholds, *(name for slot in view.slots.values() for name in slot.scores)))
    scores = {
        scorer: {client_id: slot.scores[scorer] for client_id, slot in view.slots.items() if scorer in slot.scores}
        for scorer in scorers
    }
    rejected = {client_id for client_id, slot in view.slots.items() if slot.state is SlotState.REJECTED}
    return [_scale(name, thresholds.get(name, ""), of, rejected) for name, of in scores.items() if of]


def _scale(scorer: str, threshold: str, scores: Mapping[str, float], rejected: set[str]) -> Scale:
    numbers = list(scores.values())
    bound = None
    with suppress(ValueError):
        bound = float(threshold)
        numbers.append(bound)
    least, most = min(numbers), max(numbers)
    width = (most - least) or 1.0

    def at(value: float) -> float:
        return 2 + 96 * (value - least) / width

    dots = [Dot(name, at(value), digits(value), name in rejected) for name, value in sorted(scores.items())]
    return Scale(
        scorer, threshold, None if bound is None else at(bound), digits(least), digits(least + width), dots
    )  # fmt: skip
