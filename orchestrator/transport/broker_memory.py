"""Whether the broker still knows what it was told: a mark is left on it, counted up, and looked for again.

A broker that was emptied (``FLUSHALL``), or started anew with nothing or with an older state, has no mark or a former
one. A broker that was only away still has the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Set

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from tasks.announcement import Announcement
from tasks.blobs.blob import TTL_S
from tasks.broker.presence import RedisRegistry
from tasks.broker.refusals import away
from tasks.errors import BrokerUnreachableError
from tasks.scope import RunScope
from tasks.trust.signing import Clients

LOOK_S = 1.0
"""Seconds between two looks at the mark, when no client is missing."""


class BrokerMemory:
    """What the broker has forgotten since this was last asked.

    Args:
        client: A client for the broker.
        run_id: The run whose mark it is.
        clock: Seconds that only go up.
    """

    def __init__(self, client: Redis, run_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._key = RunScope(run_id).mark_key
        self._clock = clock
        self._looked_at = clock()
        self._tried = 0
        self._left = 0
        self._has_forgotten = False

    def is_due(self) -> bool:
        """Say whether the last look was ``LOOK_S`` ago."""
        return self._clock() - self._looked_at >= LOOK_S

    def look(self) -> bool:
        """Look for the mark that was left last, leave the next, and say whether the broker has forgotten it.

        A mark whose leaving was not confirmed may be there or not: neither is a loss.

        Raises:
            RedisError: If the broker is away; or ``OSError``.
        """
        self._tried += 1
        former = self._client.set(self._key, self._tried, ex=TTL_S, get=True)
        has_forgotten = not (isinstance(former, bytes) and former.isdigit() and int(former) >= self._left)
        self._left = self._tried
        self._looked_at = self._clock()
        self._has_forgotten |= has_forgotten
        return has_forgotten

    def take_forgotten(self) -> bool:
        """Say whether the broker has forgotten anything since this was last asked."""
        has_forgotten, self._has_forgotten = self._has_forgotten, False
        return has_forgotten


class WatchedRegistry(RedisRegistry):
    """Announcements on a broker that may forget them: then nobody is gone for it.

    Args:
        client: A client for the broker.
        memory: What the broker has forgotten.
        clients: Whose keys announcements have to be signed with; None: they aren't.
    """

    def __init__(self, client: Redis, memory: BrokerMemory, clients: Clients | None = None) -> None:
        super().__init__(client, clients=clients)
        self._memory = memory
        self._seen: Set[str] = frozenset()
        self._server = ""
        """What the broker calls itself since it was started."""

    def present(self) -> dict[str, Announcement]:
        """Return all live announcements by client id.

        Raises:
            BrokerUnreachableError: If the broker is away, was away, or has forgotten the announcements.
        """
        found = super().present()
        # Whoever is missing here may have been forgotten since the last look at the mark, so it is looked at after.
        if (self._memory.is_due() or not self._seen <= found.keys()) and self._has_forgotten():
            raise BrokerUnreachableError("the broker was emptied: clients have yet to announce themselves again")
        # Announcements run out while the broker is away, which another connection may have waited for.
        if (not self._server or not self._seen <= found.keys()) and self._was_started_anew():
            raise BrokerUnreachableError("the broker was started anew: clients have yet to announce themselves again")
        self._seen = found.keys()
        return found

    def _was_started_anew(self) -> bool:
        """Say whether the broker was started since this was last asked; one that doesn't tell may have been."""
        try:
            told = str(self._client.info("server").get("run_id"))
        except ResponseError:  # not everywhere may one ask
            return False
        except (RedisError, OSError) as error:
            raise BrokerUnreachableError(away(error)) from None
        former, self._server = self._server, told
        return former not in ("", told)

    def _has_forgotten(self) -> bool:
        try:
            return self._memory.look()
        except (RedisError, OSError) as error:
            raise BrokerUnreachableError(away(error)) from None
