"""The Redis that carries everything: its URL, and clients for it."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kombu.exceptions import OperationalError
from redis import ConnectionPool, Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, RedisError
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import TimeoutError as TimedOutError
from redis.retry import Retry

from tasks.broker.refusals import away
from tasks.broker.sharing import SharingPool
from tasks.broker.url import URL_VARIABLE, Broker
from tasks.errors import ConfigurationError

logger = logging.getLogger(__name__)

DEFAULT_URL = "redis://localhost:6379/0"

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 5.0
"""Seconds that the broker may take to answer a command. Where the network was cut, a connection may be dead without
anybody having said so: this is how long it takes to find out."""
CHUNK_TIMEOUT_S = 60.0
"""The same for commands that carry a chunk of a blob, so that a line of a megabit per second is enough."""
_QUICK_TIMEOUT_S = 2.0
OUTAGE_S = 60.0
"""Seconds that a broker may be away, or refuse for now, and be waited for."""
_SAY_S = 5.0
"""Seconds of that between two lines that say so."""
OUTAGE_RETRIES = 60
"""How often a command is tried again, about once a second, while the broker is away or its memory is full."""
KEEPS_ALL = "noeviction"
"""The policy (``maxmemory-policy``) of a server that refuses what it has no memory for, and removes nothing."""
_PASSING = (LostConnectionError, TimedOutError, TimeoutError, OutOfMemoryError)
"""What is tried again. A memory that is full (``maxmemory``) has room again when updates have been taken in."""


def named_broker() -> str:
    """Return what the environment names as the broker, or the URL of a Redis on this machine's default port."""
    return os.environ.get(URL_VARIABLE) or DEFAULT_URL


def check_url(url: str) -> str:
    """Return ``url`` if it is one that a broker can have.

    Raises:
        ConfigurationError: If it isn't.
    """
    Broker.read(url)
    return url


class _Patience(Retry):
    """Tries again, and says so every few seconds; but not where it isn't let in, which it won't be a moment later."""

    def call_with_retry(self, do: Callable[[], T], fail: Callable[..., Any], *args: Any, **kwargs: Any) -> T:
        """Do it until it is done, or was tried too often; see redis-py's own."""
        wait = Wait()

        def failed(error: Exception, *count: int) -> Any:
            if isinstance(error, AuthenticationError):
                raise error
            wait.note(error)
            return fail(error, *count)

        return super().call_with_retry(do, failed, *args, **kwargs)


class Wait:
    """A wait for the broker, of which a line tells every ``_SAY_S``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._said = 0.0

    def note(self, error: Exception) -> None:
        """Note that it was tried in vain."""
        now = self._clock()
        if self._began is None:
            self._began = self._said = now
        elif now - self._said >= _SAY_S:
            self._said = now
            logger.warning("%s; waiting since %.0f s", away(error), now - self._began)


def connect(url: str, *, retries: int = OUTAGE_RETRIES, timeout_s: float = COMMAND_TIMEOUT_S) -> Redis:
    """Return a client for the Redis at ``url``; it connects when first used.

    Args:
        url: As :func:`check_url` allows.
        retries: How often a command that lost its connection, or that there was no memory for, is tried again.
        timeout_s: Seconds without an answer after which a connection counts as lost.
    """
    return Redis.from_pool(
        Broker.read(url).pool(
            socket_connect_timeout=min(CONNECT_TIMEOUT_S, timeout_s),
            socket_timeout=timeout_s,
            retry=_patience(retries),
        )
    )


def share(pool: ConnectionPool, *, retries: int = OUTAGE_RETRIES, timeout_s: float = COMMAND_TIMEOUT_S) -> Redis:
    """Return a client like that of :func:`connect` which uses another's connections, and makes none where one is free.

    Args:
        pool: The other's.
        retries: As for :func:`connect`.
        timeout_s: Likewise; who connects is waited for as long as the other does.
    """
    return Redis(connection_pool=SharingPool(pool, retry=_patience(retries), socket_timeout=timeout_s))


def _patience(retries: int) -> Retry:
    return _Patience(ExponentialBackoff(cap=1.0, base=0.05), retries, _PASSING)


def connect_quickly(url: str) -> Redis:
    """Return a client that gives up at once, or after ``_QUICK_TIMEOUT_S``, for those who will ask again anyway."""
    return Redis.from_pool(
        Broker.read(url).pool(socket_connect_timeout=_QUICK_TIMEOUT_S, socket_timeout=_QUICK_TIMEOUT_S, retry=None)
    )


def persist(action: Callable[[], T]) -> T:
    """Do ``action``, and as long as the broker is away try again, about once a second, ``OUTAGE_RETRIES`` times.

    Raises:
        RedisError: If the broker is still away then; or ``OSError``, or kombu's ``OperationalError``.
    """
    wait = Wait()
    for _ in range(OUTAGE_RETRIES):
        try:
            return action()
        except (RedisError, OSError, OperationalError) as error:
            wait.note(error)
            time.sleep(1)
    return action()


class Clock:
    """The broker's clock, the one that all sides share.

    For ``FRESH_S`` after a look at it, it is taken to go on as this process's own does.

    Args:
        client: A client for the broker.
        elapsed: Seconds that only go up.
    """

    FRESH_S = 1.0

    def __init__(self, client: Redis, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._elapsed = elapsed
        self._looked_at = -math.inf
        self._seen = 0.0

    def __call__(self) -> float:
        """Return the seconds since 1970."""
        since = self._elapsed() - self._looked_at
        if since < self.FRESH_S:
            return self._seen + since
        seconds, microseconds = self._client.time()
        self._looked_at = self._elapsed()
        self._seen = float(seconds) + float(microseconds) / 1e6
        return self._seen


def check_keeps_all(client: Redis) -> bool:
    """Check that the broker evicts nothing; return False if it doesn't let this client know.

    Raises:
        ConfigurationError: If it makes room for new keys by removing others.
    """
    memory = _memory(client)
    policy, maxmemory = memory.get("maxmemory_policy"), memory.get("maxmemory")
    if policy is None or maxmemory is None:
        return False
    if policy != KEEPS_ALL and maxmemory:
        raise ConfigurationError(
            f"the broker removes keys when its memory is full (maxmemory {maxmemory}, maxmemory-policy {policy}), and "
            f"with them orders and updates: set maxmemory-policy {KEEPS_ALL} there, or maxmemory 0"
        )
    return True


def memory_left(client: Redis) -> float | None:
    """Return the bytes that the broker has room for: infinite without a limit; None if it doesn't say."""
    memory = _memory(client)
    most, used = memory.get("maxmemory"), memory.get("used_memory")
    if most is None or used is None:
        return None
    return max(0.0, float(most) - float(used)) if most else math.inf


def _memory(client: Redis) -> dict[str, Any]:
    """Return what the broker says of its memory; nothing if it doesn't let this client know."""
    try:
        found: dict[str, Any] = client.info("memory")
    except NoPermissionError:
        return {}
    return found
