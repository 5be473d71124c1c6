"""Waiting for the results of Celery tasks, where its Redis backend stores them and on the channels that tell of it.

The backend stores a result and publishes it on the channel of the same name; one pattern stands for the channels of all
tasks of a run. Only those results are read that a message told of. What was stored before it was waited for is found by
a look when it first is, and what was published while a connection was lost by a look at all, every ``LOOK_S``. So
nothing is missed, and a round of a thousand clients takes a thousand reads rather than a million.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Set

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from tasks.broker import connect
from tasks.names import PRESENCE_CHANNEL, result_key

LOOK_S = 1.0
"""Seconds between two looks at all results that are waited for."""
_RETRY_S = 0.5
_MAX_MESSAGES = 1000
_PREFIX = result_key("")
_NO_STRING = b"something else than a string"
"""Stands for what a client stored that isn't a string: it's no answer."""


class Results:
    """The results that somebody waits for.

    Args:
        url: The broker's URL.
        run_id: The run, whose name is in the id of each of its tasks.
        client: Removes what is to be forgotten, however long it takes.
    """

    def __init__(self, url: str, run_id: str, client: Redis) -> None:
        self._pattern = f"{result_key('*')}{run_id}/*"
        self._client = client
        # What waits does not try again by itself: there is more to look after meanwhile.
        self._waiting = connect(url, retries=0)
        self._pubsub = self._waiting.pubsub()  # type: ignore[no-untyped-call]  # redis has no types for it
        self._is_listening = False
        self._watched: set[str] = set()
        self._unseen: set[str] = set()
        self._ended: set[str] = set()
        self._looked = 0.0

    def collect(self, task_ids: Collection[str], timeout_s: float, max_bytes: int) -> dict[str, bytes | str]:
        """Return the raw results of those of the tasks that have ended; see :class:`orchestrator.couriers.Courier`."""
        awaited = frozenset(task_ids)
        try:
            self._watch(awaited)
            is_due = timeout_s <= 0 or time.monotonic() - self._looked >= LOOK_S
            found = self._read(awaited, max_bytes, everything=is_due)
            if not found and timeout_s > 0:
                was_told = self._wait(timeout_s)
                found = self._read(awaited, max_bytes, everything=not was_told)
        except (RedisError, OSError):
            self._pubsub.close()
            self._is_listening = False
            self._watched.clear()
            time.sleep(min(_RETRY_S, timeout_s))
            return {}
        return found

    def forget(self, task_ids: Collection[str]) -> None:
        """Remove the results of these tasks, and heed what is told of them no more."""
        self._ended.difference_update(task_ids)
        self._watched.difference_update(task_ids)
        if task_ids:
            self._client.unlink(*map(result_key, task_ids))

    def expect_more(self, task_id: str) -> None:
        """Note that what was read of a task is not its end: it is read again when there is more."""
        self._ended.discard(task_id)

    def _watch(self, task_ids: Set[str]) -> None:
        """Heed what is told of these tasks; those that weren't heeded until now may have ended already."""
        if not self._is_listening:
            self._pubsub.psubscribe(self._pattern)
            self._pubsub.subscribe(PRESENCE_CHANNEL)
            self._is_listening = True
        new = task_ids - self._watched
        self._watched |= new
        self._unseen |= new

    def _read(self, task_ids: Set[str], max_bytes: int, *, everything: bool) -> dict[str, bytes | str]:
        """Return what is stored of all these tasks, or of those that are known to have ended."""
        ordered = sorted(task_ids if everything else (task_ids & self._ended) | (task_ids & self._unseen))
        self._unseen.clear()
        if everything:
            self._looked = time.monotonic()
        if not ordered:
            return {}
        with self._waiting.pipeline(transaction=False) as pipe:
            for task_id in ordered:
                pipe.getrange(result_key(task_id), 0, max_bytes)
            values = [
                _NO_STRING if isinstance(value, ResponseError) else value
                for value in pipe.execute(raise_on_error=False)
            ]
        found = {task_id: value for task_id, value in zip(ordered, values, strict=True) if value}
        self._ended.update(found)
        return found

    def _wait(self, timeout_s: float) -> bool:
        """Wait for a message that tells of a result or of a client, and take in those behind it; False if none came."""
        deadline = time.monotonic() + timeout_s
        was_told = False
        for _ in range(_MAX_MESSAGES):
            left = 0.0 if was_told else max(0.0, deadline - time.monotonic())
            message = self._pubsub.get_message(timeout=left)
            if message is not None and message["type"] in ("message", "pmessage"):
                self._ended.update({message["channel"].decode().removeprefix(_PREFIX)} & self._watched)
                was_told = True
            elif message is None and left == 0.0:
                break
        return was_told
