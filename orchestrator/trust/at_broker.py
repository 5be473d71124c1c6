"""Letting clients in, and cutting them off, at a broker that is running."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from orchestrator.trust.authority import Authority, user_words
from orchestrator.trust.clients import Client
from tasks.broker.connection import connect
from tasks.broker.refusals import away
from tasks.broker.rules import client_rules, user_name


def admit(authority: Authority, client: Client) -> str:
    """Have the broker let a client in; return why it can't be told, empty if it was."""
    words = user_words(client.password_digest, client_rules(client.client_id, client.count))
    return _tell(authority, lambda redis: redis.execute_command("ACL SETUSER", user_name(client.client_id), *words))  # type: ignore[no-untyped-call]


def cut_off(authority: Authority, client: Client) -> str:
    """Have the broker end a client's connections, and let it in no longer; return why it can't be told, or nothing."""
    return _tell(authority, lambda redis: redis.acl_deluser(user_name(client.client_id)))


def _tell(authority: Authority, tell: Callable[[Redis], object]) -> str:
    try:
        with connect(authority.broker_url, retries=0) as redis:
            tell(redis)
            with suppress(ResponseError):  # it may have no file of users
                redis.acl_save()
    except (RedisError, OSError) as error:
        return away(error)
    return ""
