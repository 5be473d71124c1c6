"""Connections that are made anew rather than used after they were idle.

What is between two machines may forget a connection on which nothing is said, a balancer after seconds, and tell
neither. Who uses it then, or asks by a ping whether it is there, waits for a timeout; connecting takes a round trip or
two.
"""

from __future__ import annotations

import functools
import time
from typing import Any

MAX_IDLE_S = 10.0
"""Seconds without an answer after which a connection isn't used again."""


@functools.cache
def fresh(kind: type[Any]) -> type[Any]:
    """Return a class of redis-py's connections that connects anew where that would ask for a sign of life."""

    class Fresh(kind):  # type: ignore[misc]  # any of them
        def __init__(self, **settings: Any) -> None:
            super().__init__(**{**settings, "health_check_interval": MAX_IDLE_S})

        def check_health(self) -> None:  # before each command
            if 0 < self.next_health_check < time.monotonic():
                self.disconnect()
                self.connect_check_health(check_health=False)

    return Fresh
