"""What connects a run to the world: one object that the entry points put together and the run is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from orchestrator.couriers import Courier
from tasks.blobs import BlobStore
from tasks.presence import Registry


class Lost(Enum):
    """What has been lost since the last look, and must be done or sent again."""

    NOTHING = "nothing"
    OWN_WORK = "what an own worker was doing"
    ALL = "all that was on the broker"


@dataclass(frozen=True, slots=True)
class Wire:
    """How a run reaches its clients and its own workers.

    Attributes:
        courier: Carries orders and answers.
        registry: Who is there.
        blobs: Where blobs are.
        broker_time: Returns the seconds since 1970 by the broker's clock.
        tend: Called at least every ``TICK_S``: keeps up what has to be kept up; True if an own worker had to be
            started anew, so that what it was doing is lost.
        tidy: Removes what the run left on the broker, when it is over.
        has_flow: Whether clients work side by side, so that what they send may become too much at a time.
        forgot: Says whether the broker has forgotten all that was on it since this was last asked.
    """

    courier: Courier
    registry: Registry
    blobs: BlobStore
    broker_time: Callable[[], float]
    tend: Callable[[], bool]
    tidy: Callable[[], None]
    has_flow: bool = True
    forgot: Callable[[], bool] = lambda: False


TICK_S = 1.0
"""Seconds between two looks at clients and own workers, when nothing else happens."""
