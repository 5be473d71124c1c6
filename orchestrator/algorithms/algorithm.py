"""What an algorithm is: how much an update weighs, and how the model moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.arrays import Arrays


@dataclass(frozen=True, slots=True)
class UpdateInfo:
    """What is known of an update beside its parameters."""

    client_id: str
    num_examples: int
    num_steps: int


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An algorithm's server side.

    Attributes:
        name: Its name, in lower case.
        weight: How much an update weighs in the mean.
        step: ``(global parameters, weighted mean of the updates' parameters) -> new global parameters``; changes
            neither.
    """

    name: str
    weight: Callable[[UpdateInfo], float]
    step: Callable[[Arrays, Arrays], Arrays]
