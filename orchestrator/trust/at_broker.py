"""Letting clients in, and cutting them off, at a broker that is running."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from redis import Redis
from redis.exceptions import RedisError, ResponseError
from redis.utils import str_if_bytes

from orchestrator.trust.authority import Authority, user_words
from tasks.broker.connection import connect
from tasks.broker.refusals import away
from tasks.broker.rules import NOBODY, client_rules, user_name
from tasks.errors import ConfigurationError


def tell(authority: Authority, renewed: Collection[str] = ()) -> str:
    """Have the broker let in all clients that are enrolled and end the others' connections.

    It is told of all, as it may have been away when one was let in or revoked: what it saves are the users that it
    knows. Who was cut off there (:mod:`orchestrator.trust.watch`) stays so.

    Args:
        authority: Whose clients they are.
        renewed: Ids of those that the operator lets in now, also if they were cut off.

    Returns:
        Why it can't be told; empty if it was.
    """
    try:
        with connect(authority.broker_url, retries=0) as redis:
            _set_users(authority, redis, renewed)
            with suppress(ResponseError):  # it may have no file of users
                redis.acl_save()
    except ConfigurationError as error:  # what is needed to reach it is damaged: it stays as it was
        return str(error)
    except (RedisError, OSError) as error:
        return away(error)
    return ""


def _set_users(authority: Authority, redis: Redis, renewed: Collection[str]) -> None:
    cut_off = _cut_off(redis)
    with redis.pipeline(transaction=False) as pipe:
        pipe.execute_command("ACL SETUSER", *NOBODY)  # type: ignore[no-untyped-call]
        for client in authority.clients.all():
            user = user_name(client.client_id)
            if client.standing != "enrolled":
                pipe.execute_command("ACL DELUSER", user)  # type: ignore[no-untyped-call]
            elif user not in cut_off or client.client_id in renewed:
                words = user_words(client.password_digest, client_rules(client.client_id, client.count))
                pipe.execute_command("ACL SETUSER", user, *words)  # type: ignore[no-untyped-call]
        pipe.execute()


def _cut_off(redis: Redis) -> set[str]:
    """Return the names of the users that the broker knows and lets in no more: ``user NAME off …``."""
    users = [str_if_bytes(line).split() for line in redis.acl_list()]
    return {words[1] for words in users if "off" in words[2:]}
