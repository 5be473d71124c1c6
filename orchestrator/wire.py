"""What connects a run to the world: one object that the entry points put together and the run is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.couriers import Courier
from tasks.blobs import BlobStore
from tasks.presence import Registry


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
    """

    courier: Courier
    registry: Registry
    blobs: BlobStore
    broker_time: Callable[[], float]
    tend: Callable[[], bool]
    tidy: Callable[[], None]
    has_flow: bool = True


TICK_S = 1.0
"""Seconds between two looks at clients and own workers, when nothing else happens."""
