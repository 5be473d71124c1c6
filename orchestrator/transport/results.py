"""Waiting for the results of Celery tasks, where its Redis backend stores them and on the channels that tell of it.

The backend stores a result and publishes it, at once, on the channel of the same name; one pattern stands for the
channels of all tasks of a run. What a message brings is taken as it is. What was stored before anybody listened is
found by a look at all that are waited for when the channels are first listened to, and what was published while a
connection was lost by such a look every ``LOOK_S``. So nothing is missed, and results are hardly ever read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence, Set

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from tasks.broker.connection import connect
from tasks.scope import PRESENCE_CHANNEL, RunScope, result_key, who_wants_part

MAX_RESULT_BYTES = 2**29
"""Redis holds no longer values than this."""
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
        grant: Grants parts of the data to clients that ask for one.
    """

    def __init__(
        self, url: str, run_id: str, client: Redis, grant: Callable[[Collection[str]], None] = lambda _: None
    ) -> None:
        self._pattern = RunScope(run_id).result_keys
        self._client = client
        self._grant = grant
        # What waits does not try again by itself: there is more to look after meanwhile.
        self._waiting = connect(url, retries=0)
        self._pubsub = self._waiting.pubsub()  # type: ignore[no-untyped-call]  # redis has no types for it
        self._is_listening = False
        self._was_cut_off = False
        self._watched: set[str] = set()
        self._told: dict[str, bytes | None] = {}
        """Tasks whose results are there, and what a message brought, as long as nobody has asked for it."""
        self._looked = -math.inf

    def collect(
        self, task_ids: Collection[str], timeout_s: float, max_bytes: int = MAX_RESULT_BYTES
    ) -> dict[str, bytes | str]:
        """Return the raw results of those of the tasks that have ended.

        Waits for the first of them, for something to change among the clients, or for ``timeout_s``. Of a result that
        is longer than ``max_bytes``, no more is read than says so.
        """
        awaited = frozenset(task_ids)
        try:
            self._watch(awaited)
            is_due = timeout_s <= 0 or time.monotonic() - self._looked >= LOOK_S
            found = self._read(awaited, max_bytes, everything=is_due)
            if not found and timeout_s > 0:
                was_told = self._wait(timeout_s, max_bytes)
                found = self._read(awaited, max_bytes, everything=not was_told)
        except (RedisError, OSError):
            self._pubsub.close()
            self._is_listening = False
            self._was_cut_off = True
            self._watched.clear()
            time.sleep(min(_RETRY_S, timeout_s))
            return {}
        return found

    def take_reconnected(self) -> bool:
        """Say whether the connection was lost and is there again: what a worker took as it was lost may be lost too."""
        is_back = self._was_cut_off and self._is_listening
        self._was_cut_off &= not is_back
        return is_back

    def remove(self, task_ids: Collection[str], other_keys: Collection[str | bytes] = ()) -> None:
        """Remove the results of these tasks, with other keys, and heed what is told of them no more."""
        self.heed_no_more(task_ids)
        if task_ids or other_keys:
            self._client.unlink(*map(result_key, task_ids), *other_keys)

    def heed_no_more(self, task_ids: Collection[str]) -> None:
        """Heed what is told of these tasks no more."""
        self._watched.difference_update(task_ids)
        for task_id in task_ids:
            self._told.pop(task_id, None)

    def expect_more(self, task_id: str) -> None:
        """Note that what was read of a task is not its end: it is read again when there is more."""
        self._told.pop(task_id, None)

    def _watch(self, task_ids: Set[str]) -> None:
        """Heed what is told of these tasks; when nobody has listened until now, they may have ended already."""
        if not self._is_listening:
            self._pubsub.psubscribe(self._pattern)
            self._pubsub.subscribe(PRESENCE_CHANNEL)
            self._is_listening = True
            self._looked = -math.inf
        self._watched |= task_ids

    def _read(self, task_ids: Set[str], max_bytes: int, *, everything: bool) -> dict[str, bytes | str]:
        """Return what messages brought of these tasks, and what is stored of those that are there, or of all."""
        found: dict[str, bytes | str] = {}
        known = task_ids & self._told.keys()
        for task_id in sorted(known):
            brought, self._told[task_id] = self._told[task_id], None
            if brought is not None:
                found[task_id] = brought
        if everything:
            self._looked = time.monotonic()
        stored = self._stored(sorted((task_ids if everything else known) - found.keys()), max_bytes)
        self._told.update(dict.fromkeys(stored))
        return found | stored

    def _stored(self, task_ids: Sequence[str], max_bytes: int) -> dict[str, bytes]:
        """Return the results of these tasks that are there."""
        if not task_ids:
            return {}
        with self._waiting.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.getrange(result_key(task_id), 0, max_bytes)
            values = [
                _NO_STRING if isinstance(value, ResponseError) else value
                for value in pipe.execute(raise_on_error=False)
            ]
        return {task_id: value for task_id, value in zip(task_ids, values, strict=True) if value}

    def _wait(self, timeout_s: float, max_bytes: int) -> bool:
        """Wait for a message that tells of a result or of a client, and take in those behind it; False if none came."""
        deadline = time.monotonic() + timeout_s
        was_told = False
        asking: list[str] = []
        for _ in range(_MAX_MESSAGES):
            left = 0.0 if was_told or asking else max(0.0, deadline - time.monotonic())
            message = self._pubsub.get_message(timeout=left)
            if message is not None and message["type"] in ("message", "pmessage"):
                channel, data = message["channel"].decode(), message["data"]
                if client_id := who_wants_part(data) if channel == PRESENCE_CHANNEL else "":
                    asking.append(client_id)
                    continue
                if (task_id := channel.removeprefix(_PREFIX)) in self._watched:
                    self._told[task_id] = data[: max_bytes + 1]
                was_told = True
            elif message is None and asking:
                self._grant(asking)
                asking = []
            elif message is None and left == 0.0:
                break
        self._grant(asking)
        return was_told
