"""Own workers that don't have a run's folder: their signs of life at the broker, and what of them is lost.

Each counts up a number of its own, once a second. What a worker has taken from a queue is lost if it ends without a
word, or is cut off; then its number stands still, whatever its clock and the broker's say.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from tasks.blobs.blob import TTL_S
from tasks.scope import RunScope

SILENT_S = 5.0
"""Seconds after which a worker is taken for lost whose number stands still."""


def give_sign(client: Redis, run_id: str, name: str) -> None:
    """Say that an own worker without the run's folder is there.

    Args:
        client: A client for the broker.
        run_id: The run.
        name: The worker's, which no other has or had.

    Raises:
        RedisError: If the broker is away; or ``OSError``.
    """
    key = RunScope(run_id).elsewhere_key
    with client.pipeline(transaction=False) as pipe:
        pipe.hincrby(key, name, 1)
        pipe.expire(key, TTL_S)
        pipe.execute()


def take_leave(client: Redis, run_id: str, name: str) -> None:
    """Say that a worker has ended, and holds no task."""
    client.hdel(RunScope(run_id).elsewhere_key, name)


class Elsewhere:
    """Those workers, as the orchestrator sees them.

    Args:
        client: A client for the broker that gives up at once: what fails is done again soon.
        run_id: The run.
        clock: Seconds that only go up.
    """

    def __init__(self, client: Redis, run_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._key = RunScope(run_id).elsewhere_key
        self._clock = clock
        self._seen: dict[bytes, tuple[bytes, float]] = {}
        """Worker -> its number, and since when it has stood there."""

    def num_present(self) -> int:
        """Return how many there were at the last look."""
        return len(self._seen)

    def look(self) -> bool:
        """Look who is there, and say whether one is gone without a word: what it had taken is lost."""
        with suppress(RedisError, OSError):
            now, found = self._clock(), cast(dict[bytes, bytes], self._client.hgetall(self._key))
            seen = {name: (number, self._since(name, number, now)) for name, number in found.items()}
            silent = [name for name, (_, since) in seen.items() if now - since > SILENT_S]
            self._seen = {name: each for name, each in seen.items() if name not in silent}
            if silent:
                self._client.hdel(self._key, *silent)
            return bool(silent)
        return False

    def _since(self, name: bytes, number: bytes, now: float) -> float:
        former, since = self._seen.get(name, (b"", now))
        return since if former == number else now
