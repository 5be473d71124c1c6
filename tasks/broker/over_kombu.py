"""The broker as Celery reaches it, through kombu's transport for messages and a backend of its own for results.

Both are given a :class:`Broker`, and make their connections of what it says. Of the URL they know what may be shown.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from queue import Empty
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend
from kombu.exceptions import DecodeError
from kombu.transport import redis, virtual
from redis import ConnectionPool
from redis.exceptions import AuthenticationError

from tasks.broker.url import OPTION, Broker
from tasks.scope import REPLIES, result_key

RESTORES = "do_restore"
"""The option, of kombu's channels, that says whether a worker that ends puts back on its queue what it hasn't begun."""
REPLY_LIFETIME_S = 60
"""Seconds that an answer to one of Celery's tools waits for it."""
LAST_TRY_S = 60.0
"""Seconds after which a worker that was told to end gives up a result that it can't store."""


class Message(virtual.Message):
    """A message whose body is what was sent: one that is compressed is refused, as it may inflate a thousandfold."""

    def __init__(self, payload: Any, channel: Any = None, **kwargs: Any) -> None:
        if method := (payload.get("headers") or {}).get("compression"):
            refused = DecodeError(f"a message is compressed ({method!r:.50}): none is taken that is")
            self.errors = [(DecodeError, refused, None)]
            payload = {**payload, "body": ""}
        super().__init__(payload, channel, **kwargs)


class Channel(redis.Channel):
    """A channel to the broker in its transport options.

    Queues are reached by their names, so nothing is noted at the broker of what they are bound to.
    """

    Message = Message
    from_transport_options = (*redis.Channel.from_transport_options, OPTION, RESTORES)
    broker: Broker
    _fanout_queues: dict[str, tuple[str, str]]

    @property
    def connection_class(self) -> type:  # type: ignore[override]  # nobody writes to it
        """The class of the broker's connections, of which kombu makes another that heeds its event loop."""
        found: type = self.broker.connection["connection_class"]
        return found

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Lend a client; its connection is given back, as a worker asks but when it begins to take messages."""
        with super().conn_or_acquire(client) as lent:
            yield lent
        if client is None:
            self.pool.disconnect(inuse_connections=False)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: object, queue: str) -> None:
        """Note nothing of a queue at the broker; here, which broadcasts it is for."""
        if self.typeof(exchange).type == "fanout":
            self._fanout_queues[queue] = (exchange, routing_key.replace("#", "*"))

    def _receive_one(self, c: Any) -> Any:
        """Read what was broadcast, if anything was: redis-py would connect again, and wait there without a bound."""
        connection = c.connection
        if connection is None or connection._sock is None:
            self._in_listen = None  # the event loop connects and subscribes anew
            raise Empty
        if not connection.can_read(timeout=0):
            raise Empty
        return super()._receive_one(c)  # type: ignore[misc]  # its stub has little

    def maybe_refresh_binding_expiry(self) -> None:
        """Refresh nothing of what isn't noted."""

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        super()._put(queue, message, **kwargs)
        if queue.endswith(REPLIES):  # who asked may be gone
            with self.conn_or_acquire() as client:
                client.expire(queue, REPLY_LIFETIME_S)

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:
        """Return the queues of a message: that of who asks, if it answers one of Celery's tools."""
        if exchange == REPLIES:
            return [f"{routing_key}.{REPLIES}"]
        return list(super()._lookup(exchange, routing_key, default))

    def get_table(self, exchange: str) -> list[Any]:
        """Return the queues that are bound to an exchange: none are."""
        return []

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        made = super()._connparams(asynchronous)  # type: ignore[misc]  # its stub has little
        return {**made, **self.broker.connection, "connection_class": made["connection_class"]}

    def _get_pool(self, asynchronous: bool = False) -> ConnectionPool:
        params = self._connparams(asynchronous)
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=params["db"])
        return self.broker.pool(is_polled=asynchronous, **params)


class Transport(redis.Transport):
    """A transport over such channels."""

    Channel = Channel
    can_parse_url = True  # kombu is to leave the URL alone

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """Return the URL that is shown."""
        return str(self.client.transport_options[OPTION])  # type: ignore[union-attr,index]


class Backend(RedisBackend):
    """The results, at the broker in the transport options of results."""

    expires: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._last_try = math.inf
        self._broker: Broker = self.app.conf.result_backend_transport_options[OPTION]  # type: ignore[attr-defined]
        made: dict[str, Any] = self.connparams  # type: ignore[has-type]
        self.connparams = {
            **{name: value for name, value in made.items() if name not in ("host", "port")},
            **self._broker.connection,
        }

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Say whether to try again: for as long as it takes, but in a worker that was told to end for a minute.

        Whom the broker doesn't let in, it won't either a moment later.
        """
        from celery.worker import state  # noqa: PLC0415  # wanted in trouble alone

        told: tuple[int | None, ...] = (state.should_stop, state.should_terminate)
        if told == (None, None):
            self._last_try = math.inf
        elif self._last_try == math.inf:
            self._last_try = time.monotonic() + LAST_TRY_S
        if isinstance(exc, AuthenticationError):
            return False
        return bool(super().exception_safe_to_retry(exc)) and time.monotonic() < self._last_try

    def store_together(self, returned: Mapping[str, object]) -> None:
        """Store what tasks have returned, by their ids, and tell of it: in one round trip, where Celery takes two each.

        What was stored of such a task before is replaced.
        """
        self._ensure_retryable(self._store_returned, returned)  # type: ignore[attr-defined]  # its stub has little

    def _store_result(self, task_id: str, result: object, state: str, *args: object, **kwargs: object) -> object:
        """Store what a task has returned, in place of whatever was; an error takes the place of nothing returned."""
        if state != states.SUCCESS:
            return super()._store_result(task_id, result, state, *args, **kwargs)  # type: ignore[misc]  # likewise
        self._store_returned({task_id: result})
        return result

    def _store_returned(self, returned: Mapping[str, object]) -> None:
        with self.client.pipeline() as pipe:
            for task_id, value in returned.items():
                key, document = result_key(task_id), {"task_id": task_id, "status": states.SUCCESS, "result": value}
                stored = self.encode(document)
                pipe.set(key, stored, ex=self.expires)
                pipe.publish(key, stored)
            pipe.execute()

    def _get_pool(self, **params: Any) -> ConnectionPool:
        return self._broker.pool(**params)

    def as_uri(self, include_password: bool = False) -> str:
        """Return the URL that is shown."""
        return str(self._broker)
