"""Connections to the primary that sentinels name: after a failover the next connection leads to the new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

TIMEOUT_S = 2.0


class ManagedConnection(SentinelManagedConnection):
    """A connection that asks where the primary is whenever it is made, also by who carries chunks on it."""

    def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Connect, if that isn't done, to what is the primary now."""
        if not self.is_connected:
            self.host, self.port = self.connection_pool.get_master_address()
        super().connect_check_health(check_health, retry_socket_connect)


def pool_of(sentinels: Sequence[tuple[str, int]], primary: str, **settings: Any) -> SentinelConnectionPool:
    """Return a pool of connections to the primary of this name.

    Args:
        sentinels: Host and port of each sentinel; those that are gone are passed over.
        primary: The name by which they know it.
        settings: Arguments of a connection or a pool.
    """
    timing = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
    manager = Sentinel(sentinels, sentinel_kwargs=timing)  # type: ignore[no-untyped-call]  # redis has no types for it
    return SentinelConnectionPool(primary, manager, **settings)  # type: ignore[no-untyped-call]
