"""The Redis that carries everything: its URL, and clients for it."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from kombu.utils.url import maybe_sanitize_url
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tasks.errors import BrokerUnreachableError, ConfigurationError

DEFAULT_URL = "redis://localhost:6379/0"
URL_VARIABLE = "CELERY_BROKER_URL"
"""The variable that Celery itself reads, so that there is one place to say it."""

_SCHEMES = ("redis", "rediss", "redis+socket")
_CONNECT_TIMEOUT_S = 5.0
_SOCKET_TIMEOUT_S = 60.0


def broker_url() -> str:
    """Return the broker's URL from the environment, or that of a Redis on this machine's default port."""
    return check_url(os.environ.get(URL_VARIABLE) or DEFAULT_URL)


def check_url(url: str) -> str:
    """Return ``url`` if it is one that a broker can have.

    Raises:
        ConfigurationError: If it isn't.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(f"broker {url!r}: {error}") from None
    if parts.scheme not in _SCHEMES or not (parts.hostname or parts.path):
        raise ConfigurationError(
            f"broker {url!r}: write redis://HOST:PORT/DB, rediss://… for TLS, or redis+socket:///PATH"
        )
    return url


def shown(url: str) -> str:
    """Return ``url`` without its password, for messages."""
    return str(maybe_sanitize_url(url))


def connect(url: str, *, retries: int = 3) -> Redis:
    """Return a client for the Redis at ``url``; it connects when first used.

    Args:
        url: As :func:`check_url` allows.
        retries: How often a command that lost its connection is tried again.
    """
    return Redis.from_url(
        url.replace("redis+socket://", "unix://", 1),
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_timeout=_SOCKET_TIMEOUT_S,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), retries),
        health_check_interval=30,
    )


def check_reachable(url: str) -> None:
    """Ask the Redis at ``url`` for a sign of life.

    Raises:
        BrokerUnreachableError: If there is none.
    """
    try:
        with connect(url, retries=0) as client:
            client.ping()
    except (RedisError, OSError) as error:
        raise BrokerUnreachableError(
            f"no Redis answers at {shown(url)} ({error}): start one there, or name another with --broker URL"
            f" or {URL_VARIABLE}"
        ) from None
