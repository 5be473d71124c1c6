"""What a selector gets and returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from orchestrator.feedback import Feedback
from tasks.presence import Announcement


@dataclass(frozen=True, slots=True)
class ConnectedClient:
    """A client that is connected, and what it announced (examples, labels, hardware)."""

    client_id: str
    announcement: Announcement


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked of a selector.

    Attributes:
        round_number: The round that the cohort is for; the first is 1.
        num_wanted: How many clients the cohort should have.
        rng: Generator derived from the run's seed and the round.
        feedback: How clients did in the run's former rounds, by client id; who was never asked is not in it, and who
            is in it may have left.
        num_needed: How few clients are no use: the updates that a round needs.
    """

    round_number: int
    num_wanted: int
    rng: np.random.Generator
    feedback: Mapping[str, Feedback] = field(default_factory=dict)
    num_needed: int = 1


def cohort_size(fraction: float, num_connected: int) -> int:
    """Return ``ceil(fraction * num_connected)``, ``fraction`` being the decimal number that it's written as."""
    return math.ceil(Fraction(str(fraction)) * num_connected)


def clients_needed(fraction: float, size: int) -> int:
    """Return the least number of connected clients of which ``fraction`` makes a cohort of ``size`` or more."""
    return math.floor((size - 1) / Fraction(str(fraction))) + 1


Selector = Callable[[Sequence[ConnectedClient], Selection], Sequence[str]]
"""From the connected clients, in the order in which they connected, to the ids of the cohort.

One that raises :class:`tasks.errors.TooFewFitError` is asked again when other clients may have come. One with a method
``fits(client)`` decides by it, too, who joins a round that is open already.
"""


def fits(selector: Selector, client: ConnectedClient) -> bool:
    """Say whether a client that joins later is one that the selector might choose; most choose among all."""
    own = getattr(selector, "fits", None)
    return own is None or bool(own(client))
