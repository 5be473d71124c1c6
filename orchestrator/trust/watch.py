"""Clients that take more of the broker than rules can bound are cut off: their connections end, and no new ones begin.

They stay so until the operator renews their enrolment; a broker that is started anew may have forgotten it.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections import Counter
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

from orchestrator.trust.clients import Clients
from tasks.broker.refusals import away
from tasks.broker.rules import is_clients, user_name
from tasks.errors import ConfigurationError
from tasks.scope import owner_of_key, taker_of_queue

logger = logging.getLogger(__name__)

LOOK_S = 5.0
"""Seconds between two looks."""
MAX_CONNECTIONS = 500
"""Connections that a client's worker may have; it holds two, and one a process."""
MAX_BYTES = 2**24
"""Memory that a client may take beside its updates: its answers and its announcement take a megabyte or two."""
_SCAN_COUNT = 1000
_USER = re.compile(rb" user=(\S+)")


class Watch:
    """Looks what clients take.

    Args:
        broker: A client for the broker, with the orchestrator's credentials.
        clients: Who is enrolled.
        clock: Seconds that only go up.
    """

    def __init__(self, broker: Redis, clients: Clients, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._clients = clients
        self._clock = clock
        self._next = -math.inf

    def cut_off_overbearing(self) -> dict[str, str]:
        """Cut off who takes too much, every ``LOOK_S``; return the ids of these clients, with the reason."""
        if self._clock() < self._next:
            return {}
        self._next = self._clock() + LOOK_S
        try:
            found = {**self._many_connections(), **self._much_memory()}
        except (RedisError, OSError) as error:
            logger.warning("%s", away(error))
            return {}
        return {each: reason for client_id, reason in found.items() for each in self.cut_off(client_id, reason)}

    def cut_off(self, client_id: str, reason: str) -> list[str]:
        """Cut off a client, with all that its worker serves, and return their ids."""
        try:
            client = self._clients.find(client_id) or self._clients.named(client_id)
        except ConfigurationError as error:
            logger.warning("client %s can't be cut off: %s", client_id, error)
            return []
        if client is None:
            return []
        user = user_name(client.client_id)
        try:
            self._broker.acl_setuser(user, enabled=False)
            self._broker.client_kill_filter(user=user)
        except (RedisError, OSError) as error:
            logger.warning("client %s can't be cut off: %s", client.client_id, away(error))
        else:
            logger.warning("client %s is cut off from the broker: %s", client.client_id, reason)
        return client.ids

    def _many_connections(self) -> dict[str, str]:
        # As text: to make words of each connection's thirty settings takes twenty times as long.
        said: bytes = self._broker.execute_command("CLIENT", "LIST")  # type: ignore[no-untyped-call]
        users = Counter(user.decode("utf-8", "replace") for user in _USER.findall(said))
        return {
            user.removeprefix(user_name("")): f"it has {count} connections: {MAX_CONNECTIONS} are allowed"
            for user, count in users.items()
            if is_clients(user) and count > MAX_CONNECTIONS
        }

    def _much_memory(self) -> dict[str, str]:
        owned = {key: owner for key in self._broker.scan_iter(count=_SCAN_COUNT) if (owner := owner_of_key(key))}
        # No queue is a string, but one in whose place its client has put one.
        strings = self._broker.scan_iter(count=_SCAN_COUNT, _type="STRING")
        owned |= {key: owner for key in strings if (owner := taker_of_queue(key))}
        with self._broker.pipeline(transaction=False) as pipe:
            for key in owned:
                pipe.memory_usage(key)
            sizes = pipe.execute()
        held: Counter[str] = Counter()
        for owner, size_bytes in zip(owned.values(), sizes, strict=True):
            held[owner] += size_bytes or 0  # it may have expired
        over = {owner: size_bytes for owner, size_bytes in held.items() if size_bytes > MAX_BYTES}
        self._remove([key for key, owner in owned.items() if owner in over])
        return {
            owner: f"it put {size_bytes} bytes at the broker beside its updates: {MAX_BYTES} are allowed"
            for owner, size_bytes in over.items()
        }

    def _remove(self, keys: list[bytes]) -> None:
        for start in range(0, len(keys), _SCAN_COUNT):
            self._broker.unlink(*keys[start : start + _SCAN_COUNT])
