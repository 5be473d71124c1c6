"""Connections that several parts of a process share: each uses them with a timeout and retries of its own.

A federation has thousands of processes that each carry out one order at a time. What one of them stores as an answer,
fetches as a model and asks of the broker's clock goes by one connection, one after the other.
"""

from __future__ import annotations

from typing import Any

from redis import ConnectionPool
from redis.retry import Retry


class SharingPool(ConnectionPool):
    """A pool without connections of its own: it lends another's, who behave as this one's user wants meanwhile.

    Args:
        owner: Whose connections they are. That it tries little again doesn't matter.
        retry: How often what was interrupted is tried again, connecting included.
        socket_timeout: Seconds without an answer after which a connection counts as lost.
    """

    def __init__(self, owner: ConnectionPool, *, retry: Retry, socket_timeout: float) -> None:
        wanted = {"retry": retry, "socket_timeout": socket_timeout}
        super().__init__(connection_class=owner.connection_class, **{**owner.connection_kwargs, **wanted})
        self._owner = owner
        self._retry = retry
        self._timeout_s = socket_timeout
        self._lent: dict[Any, tuple[Retry, float | None]] = {}
        """Connections that are lent -> how they behaved before."""

    def get_connection(self, *_: Any, **__: Any) -> Any:
        """Lend a connection, which is made if there is none."""
        connection: Any = self._retry.call_with_retry(self._owner.get_connection, lambda _error: None)
        self._lent[connection] = connection.retry, connection.socket_timeout
        _behave(connection, self._retry, self._timeout_s)
        return connection

    def release(self, connection: Any) -> None:
        """Take a connection back, for others to use."""
        _behave(connection, *self._lent.pop(connection))
        self._owner.release(connection)

    def disconnect(self, inuse_connections: bool = True) -> None:
        """End the connections, or those alone that nobody uses."""
        self._owner.disconnect(inuse_connections)


def _behave(connection: Any, retry: Retry, timeout_s: float | None) -> None:
    connection.retry, connection.socket_timeout = retry, timeout_s
    connection.update_current_socket_timeout(timeout_s)
