"""Letting clients in, and cutting them off, at a broker that is running."""

from __future__ import annotations

from contextlib import suppress

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from orchestrator.trust.authority import Authority, user_words
from tasks.broker.connection import connect
from tasks.broker.refusals import away
from tasks.broker.rules import client_rules, user_name
from tasks.errors import ConfigurationError


def tell(authority: Authority) -> str:
    """Have the broker let in all clients that are enrolled and end the others' connections.

    It is told of all, as it may have been away when one was let in or revoked: what it saves are the users that it
    knows.

    Returns:
        Why it can't be told; empty if it was.
    """
    try:
        with connect(authority.broker_url, retries=0) as redis:
            _set_users(authority, redis)
            with suppress(ResponseError):  # it may have no file of users
                redis.acl_save()
    except ConfigurationError as error:  # what is needed to reach it is damaged: it stays as it was
        return str(error)
    except (RedisError, OSError) as error:
        return away(error)
    return ""


def _set_users(authority: Authority, redis: Redis) -> None:
    with redis.pipeline(transaction=False) as pipe:
        for client in authority.clients.all():
            user = user_name(client.client_id)
            if client.standing == "enrolled":
                words = user_words(client.password_digest, client_rules(client.client_id, client.count))
                pipe.execute_command("ACL SETUSER", user, *words)  # type: ignore[no-untyped-call]
            else:
                pipe.execute_command("ACL DELUSER", user)  # type: ignore[no-untyped-call]
        pipe.execute()
