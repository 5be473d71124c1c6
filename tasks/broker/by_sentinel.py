"""Connections to the primary that sentinels name: after a failover the next connection leads to the new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
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
    manager = Sentinel(sentinels, sentinel_kwargs=_timing())  # type: ignore[no-untyped-call]  # redis has no types for it
    return SentinelConnectionPool(primary, manager, **settings)  # type: ignore[no-untyped-call]


def why_none_names(sentinels: Sequence[tuple[str, int]], primary: str) -> tuple[str, bool]:
    """Return what each sentinel says where none tells where its primary is; nothing where one does.

    The second is whether any of them has answered.
    """
    said, has_answered = [], False
    for host, port in sentinels:
        try:
            with Redis(host, port, **_timing()) as sentinel:
                known: Any = sentinel.sentinel_masters()
            if primary in known:
                return "", True
            has_answered = True
            others = f", but {', '.join(sorted(known))}" if known else ""
            said.append(f"{host}:{port} knows no {primary}{others}")
        except ResponseError as error:
            has_answered = True
            unknown = "unknown command" in str(error)
            said.append(f"{host}:{port} is no sentinel" if unknown else f"{host}:{port} refuses ({error})")
        except (RedisError, OSError) as error:
            has_answered |= isinstance(error, AuthenticationError)
            said.append(f"{host}:{port} {'refuses' if isinstance(error, AuthenticationError) else 'is away'} ({error})")
    return "; ".join(said), has_answered


def _timing() -> dict[str, Any]:
    return {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
