"""Turns: when a client that has trained may send its update, so that not all are on their way at once.

The client says that it is ready and waits at a list of its own, into which the orchestrator puts a word. Nothing is
asked again and again. The word stays there until the orchestrator takes it away, and is put in place of what was there:
told twice it is the same, and none is lost with a connection that breaks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from redis import Redis

from tasks.broker import run_lock
from tasks.errors import FederationError
from tasks.scope import turn_key

GO = b"go"
STOP = b"stop"
_SLICE_S = 2.0
_LEAST_S = 0.05
"""Of a shorter wait some servers make one without end."""
_KEPT_S = 600


class NotWantedError(FederationError):
    """Raised when nobody wants a client's update any more."""


class RedisTurns:
    """Turns in Redis.

    Args:
        client: A client for the Redis.
        clock: Seconds that only go up.
    """

    def __init__(self, client: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = client
        self._clock = clock

    def give(self, update_blob_name: str, word: bytes = GO) -> None:
        """Tell a client that it is its turn, or (``STOP``) that its update isn't wanted any more."""
        key = turn_key(update_blob_name)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.unlink(key)  # whatever it is: a client may have put something else there
            pipe.rpush(key, word)
            pipe.expire(key, _KEPT_S)
            pipe.execute()

    def take_away(self, update_blob_names: Iterable[str]) -> None:
        """Remove what clients were told of these updates."""
        keys = [turn_key(name) for name in update_blob_names]
        if keys:
            self._redis.unlink(*keys)

    def wait(self, update_blob_name: str, run_id: str, timeout_s: float) -> None:
        """Return when it is this update's turn to be sent.

        Raises:
            NotWantedError: If it came too late, another run has begun, or ``timeout_s`` have passed.
        """
        end = self._clock() + timeout_s
        key, last_on = turn_key(update_blob_name), self._clock()
        while (left := end - self._clock()) > 0:
            slice_s = max(_LEAST_S, min(left, _SLICE_S))
            word = self._redis.blmove(key, key, slice_s)  # type: ignore[arg-type]  # seconds need not be whole
            if word is not None:
                if word != GO:
                    raise NotWantedError("nobody wants the update any more: its round is over")
                return
            run_ids = [notice.run_id for notice in run_lock.read_all(self._redis)]
            if run_id in run_ids or not run_ids:
                last_on = self._clock()
            elif (
                self._clock() - last_on >= run_lock.LIFETIME_S
            ):  # on a broker that was emptied it would be again by now
                raise NotWantedError(f"nobody wants the update any more: run {run_ids[0]} has begun")
        raise NotWantedError(f"it was not the update's turn within {timeout_s:.0f} s")
