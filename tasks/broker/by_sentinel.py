"""Connections to the primary that sentinels name: after a failover the next connection leads to the new one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from redis import Redis, SSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
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


class ManagedTlsConnection(ManagedConnection, SSLConnection):
    """The same over TLS."""


def pool_of(
    sentinels: Sequence[tuple[str, int]], primary: str, asking: Mapping[str, Any], **settings: Any
) -> SentinelConnectionPool:
    """Return a pool of connections to the primary of this name.

    Args:
        sentinels: Host and port of each sentinel; those that are gone are passed over.
        primary: The name by which they know it.
        asking: Arguments of redis-py's clients for sentinels: who asks, and how that is encrypted.
        settings: Arguments of a connection or a pool.
    """
    made_with = {**_timing(), **asking}
    manager = Sentinel(sentinels, sentinel_kwargs=made_with)  # type: ignore[no-untyped-call]  # redis has no types for it
    return SentinelConnectionPool(primary, manager, **settings)  # type: ignore[no-untyped-call]


def ask_each(
    sentinels: Sequence[tuple[str, int]], asking: Mapping[str, Any]
) -> Iterator[tuple[str, list[str] | Exception]]:
    """Ask each sentinel which primaries it knows; yield where it is, and their names or why it doesn't say."""
    for host, port in sentinels:
        try:
            with Redis(host, port, **_timing(), **asking) as sentinel:
                known: Any = sentinel.sentinel_masters()
            yield f"{host}:{port}", sorted(known)
        except (RedisError, OSError) as error:
            yield f"{host}:{port}", error


def _timing() -> dict[str, Any]:
    return {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
