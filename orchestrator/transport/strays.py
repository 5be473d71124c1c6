"""What clients put at the broker beside their updates: it is removed, and who puts too much there is told of.

A client may write to all keys that begin with its name, and what it writes takes memory that all share.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection

from redis import Redis
from redis.exceptions import RedisError

from orchestrator.transport.killed_runs import left_by_killed
from tasks.blobs.blob import CHUNK_BYTES, TTL_S
from tasks.broker.refusals import away
from tasks.broker.run_lock import read_all
from tasks.scope import BLOB_KEYS, RunScope, index_in_update, owner_of_blob, run_of_blob

logger = logging.getLogger(__name__)

LOOK_S = 2.0
"""Seconds between two looks."""
STRAY_BYTES = 2**14
"""How much a key that no update has counts for at least: many small ones take no memory, but every look its time."""
KEPT_S = 3600
"""Seconds for which a run that was killed finds again what it had there: after that it is in the way of others."""
_SCAN_COUNT = 1000
_MAX_DELETED = 1000


class Strays:
    """Looks after the chunks of clients, but for those of other runs that are on, or may be taken up again.

    Args:
        client: A client for the broker.
        run_id: The run, whose own chunks are none of a client's.
        clock: Seconds that only go up.
    """

    def __init__(self, client: Redis, run_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._run_id = run_id
        self._clock = clock
        self._next = -math.inf

    def remove(self, most_bytes: int) -> dict[str, int]:
        """Remove what no update has, and all that clients have who have too much, every ``LOOK_S``.

        Args:
            most_bytes: How much each client may have there.

        Returns:
            Client id -> bytes, of those who had more.
        """
        if self._clock() < self._next:
            return {}
        self._next = self._clock() + LOOK_S
        try:
            return self._remove(most_bytes)
        except (RedisError, OSError) as error:
            logger.warning("%s", away(error))
            return {}

    def _remove(self, most_bytes: int) -> dict[str, int]:
        chunks = {key: key.decode("utf-8", "replace") for key in self._keys()}
        # Looked for after the chunks: a run is known before it puts anything there.
        on, killed = self._others({run_id for text in chunks.values() if (run_id := run_of_blob(text))})
        left = left_by_killed(self._client, chunks, killed) if killed else set()
        given_up = [key for key in left if killed[run_of_blob(chunks[key])] > KEPT_S]
        own = RunScope(self._run_id).own_blobs
        owners = {
            key: owner_of_blob(text)
            for key, text in chunks.items()
            if key not in left and run_of_blob(text) not in on and not text.startswith(own)
        }
        with self._client.pipeline(transaction=False) as pipe:
            for key in owners:
                pipe.memory_usage(key)
            sizes = pipe.execute()
        most_chunks = -(-most_bytes // CHUNK_BYTES)
        strays = {key for key in owners if not _is_of_update(chunks[key], most_chunks)}
        held: Counter[str] = Counter()
        for (key, owner), size_bytes in zip(owners.items(), sizes, strict=True):
            held[owner] += max(size_bytes or 0, STRAY_BYTES if key in strays else 0)  # it may have expired
        over = {client_id: size_bytes for client_id, size_bytes in held.items() if size_bytes > most_bytes}
        unwanted = [*given_up, *(key for key, owner in owners.items() if owner in over or key in strays)]
        for start in range(0, len(unwanted), _MAX_DELETED):
            self._client.unlink(*unwanted[start : start + _MAX_DELETED])
        return over

    def _others(self, run_ids: Collection[str]) -> tuple[set[str], dict[str, int]]:
        """Return which runs are on, this one left out, and of those of these that were killed how many seconds ago."""
        with self._client.pipeline(transaction=False) as pipe:
            for run_id in run_ids:
                pipe.ttl(RunScope(run_id).mark_key)  # whoever is killed counts it up no more
            left_s = dict(zip(run_ids, pipe.execute(), strict=True))
        on = {notice.run_id for notice in read_all(self._client)}
        ago_s = {run_id: TTL_S - left for run_id, left in left_s.items() if left > 0}
        return on - {self._run_id}, {run_id: ago_s[run_id] for run_id in ago_s.keys() - on - {self._run_id}}

    def _keys(self) -> list[bytes]:
        return list(self._client.scan_iter(match=BLOB_KEYS, count=_SCAN_COUNT))


def _is_of_update(chunk: str, most_chunks: int) -> bool:
    index = index_in_update(chunk)
    return index is not None and index < most_chunks
