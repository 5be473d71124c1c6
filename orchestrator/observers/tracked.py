"""What trackers are told of a run, the same by each: its settings, and numbers by name and round."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from orchestrator.config import RunConfig
from orchestrator.observers.events import (
    ClientsEvaluated,
    Event,
    Initialised,
    ModelEvaluated,
    RoundClosed,
    RunStarted,
    UpdatesJudged,
)

_ALWAYS = frozenset({"workload", "algorithm"})
_UNTOLD = frozenset({"run_id", "local", "observe", "log_format"})
_ROUND = ("num_clients", "num_accepted", "duration_s", "bytes_down", "bytes_up")
"""Fields of the end of a round that are told, as ``round/duration_s``."""


class Measured(NamedTuple):
    """What an event says in numbers.

    Attributes:
        round_number: The round that they are of; 0 is before the first.
        numbers: Name → number, like ``held_out/loss``. No name has a client's id.
    """

    round_number: int
    numbers: Mapping[str, float]


NOTHING = Measured(0, {})


def measured(event: Event) -> Measured:
    """Return what an event says in numbers; most say nothing."""
    match event:
        case Initialised():
            return Measured(0, _named("held_out", event.metrics))
        case ModelEvaluated(round_number=number):
            return Measured(number, _named("held_out", event.metrics))
        case ClientsEvaluated(round_number=number):
            worst = {name: spread.worst for name, spread in event.spread.items() if spread.worst is not None}
            return Measured(number, _named("clients", event.metrics) | _named("worst_client", worst))
        case UpdatesJudged(round_number=number):
            return Measured(number, _named("round", {"num_rejected": len(event.rejected)}))
        case RoundClosed(round_number=number):
            own = _named("round", {name: getattr(event, name) for name in _ROUND})
            return Measured(number, own | _named("training", event.train_metrics))
        case _:
            return NOTHING


class Numbers:
    """What the events of a run say in numbers, each once, although a run that is taken up again tells some anew."""

    def __init__(self) -> None:
        self._is_evaluated = False

    def of(self, event: Event) -> Measured:
        """Return what an event says in numbers that wasn't said before."""
        if isinstance(event, RunStarted):
            self._is_evaluated = event.is_evaluated
        return NOTHING if isinstance(event, Initialised) and self._is_evaluated else measured(event)


def changed_settings(config: RunConfig) -> dict[str, str | int | float | bool]:
    """Return those settings of a run that aren't as they are by default, and what is trained how.

    A setting in a setting is named with a dot, like ``options.learning_rate``; a list is one text.
    """
    always = config.model_dump(mode="json", include=set(_ALWAYS))
    return _flat(always | config.model_dump(mode="json", exclude_defaults=True, exclude=set(_UNTOLD)))


def moment(event: Event) -> float:
    """Return when an event was told, in seconds since 1970."""
    return datetime.fromisoformat(event.time).timestamp() if event.time else time.time()


def _named(group: str, numbers: Mapping[str, float]) -> dict[str, float]:
    return {f"{group}/{name}": number for name, number in numbers.items()}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    flat: dict[str, str | int | float | bool] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            flat[f"{prefix}{name}"] = ",".join(map(str, value))
        elif value is not None:
            flat[f"{prefix}{name}"] = value
    return flat
