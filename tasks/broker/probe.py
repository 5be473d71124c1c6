"""Whether the broker will do: one look at the start of each side, which takes a few round trips.

"Can't be reached" is said if it can't. Of a server that answers and won't do it is said why, and what to do.
"""

from __future__ import annotations

import logging
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, OutOfMemoryError, RedisError, ResponseError
from redis.retry import Retry

from tasks.blobs.blob import CHUNK_BYTES
from tasks.broker.by_sentinel import ask_each
from tasks.broker.needs import Needs, Words
from tasks.broker.refusals import RefusedForNowError
from tasks.broker.rules import is_clients
from tasks.broker.url import URL_VARIABLE, Broker
from tasks.described import first_of
from tasks.errors import BrokerUnfitError, BrokerUnreachableError

logger = logging.getLogger(__name__)

PROBED_VARIABLE = "ORCHESTRATOR_PROBED"
"""The variable that tells a worker that who starts it has looked."""
TIMEOUT_S = 2.0
LEAST_VERSION = (6, 2)
_PAUSE_S = 3.0
_NUM_TOLD = 5
"""Refused commands that a message names."""
_UNCHECKED = (
    "DANGER: anybody on the way to %s can pass for it, read all and change it, because of %s: leave that out, and name "
    "the authority of its certificate by ssl_ca_certs"
)
_TOLD = ("max number of clients reached",)
"""What a server says and redis-py takes for a lost connection."""
_NAME_AUTHORITY = ": name its authority's by ?ssl_ca_certs=FILE, or by SSL_CERT_FILE"
_OTHER_HOST = ": name the broker as the certificate does"
_CERTIFICATE_ADVICE = {9: ": is a clock wrong?", 10: ": it has to be renewed", 62: _OTHER_HOST, 64: _OTHER_HOST}
"""OpenSSL's number of what is wrong with a certificate -> what to do, where that isn't to trust another authority."""


def check_broker(url: str, needs: Needs, patience_s: float = 0.0) -> None:
    """Look whether the broker at ``url`` can be reached and will do.

    Args:
        url: The broker's URL.
        needs: What is done there.
        patience_s: Seconds to wait for a broker that answers and refuses for now, as one does that loads its data.

    Raises:
        BrokerUnreachableError: If nobody answers there, or whoever answers refuses for now.
        BrokerUnfitError: If whoever answers won't do.
    """
    broker = Broker.read(url)
    if broker.tls is not None and (setting := broker.tls.unchecked):
        logger.warning(_UNCHECKED, broker, setting)
    latest = time.monotonic() + patience_s
    while True:
        try:
            return _look(broker, needs)
        except RefusedForNowError as error:
            if time.monotonic() >= latest:
                raise BrokerUnreachableError(f"the broker {broker} refuses for now: {error}") from None
            logger.warning("the broker %s refuses for now: %s", broker, error)
            time.sleep(min(_PAUSE_S, max(0.0, latest - time.monotonic())))


def _look(broker: Broker, needs: Needs) -> None:
    timing: dict[str, Any] = {
        "socket_connect_timeout": TIMEOUT_S,
        "socket_timeout": TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    with closing(Redis.from_pool(broker.pool(**timing))) as client:
        try:
            # A client's user may ask nothing of the kind, and each time it did would stand in the server's ACL LOG.
            told = {} if is_clients(broker.user) else _told(client)
            for problem in _problems(client, told, needs):
                raise BrokerUnfitError(f"the broker {broker} {problem}")
        except RefusedForNowError:
            raise
        except (RedisError, OSError) as error:
            raise _why_useless(broker, error) from None


def _problems(client: Redis, told: dict[str, Any], needs: Needs) -> Iterator[str]:
    """Yield what is wrong with a server, what explains the rest first; ``told`` is what it says of itself."""
    if "sentinel" in (told.get("redis_mode"), told.get("server_mode")):
        yield "is a sentinel, which knows where a server is: write sentinel://HOST:PORT/DB?primary=NAME"
    version = str(told.get("redis_version", ""))
    numbers = tuple(int(word) for word in version.split(".")[:2] if word.isdigit())
    if numbers and numbers < LEAST_VERSION:
        yield f"is a Redis {version}: use 6.2 or later, or any Valkey"
    if told.get("role") == "slave":
        primary = f"{told.get('master_host')}:{told.get('master_port')}"
        yield f"is a replica of {primary}, which keeps nothing that it is told: name its primary"
    if told.get("cluster_enabled") == 1:
        yield "is a node of a cluster, which spreads keys over many: use a server that isn't one (cluster-enabled no)"
    client.ping()
    yield from _shortages(told, needs)
    if refused := _refused(client, needs):
        more = f" and {len(refused) - _NUM_TOLD} more" if len(refused) > _NUM_TOLD else ""
        yield (
            f"refuses {', '.join(refused[:_NUM_TOLD])}{more}: no command may be renamed, and the user's access rules "
            "must allow the command, its keys and its channels"
        )


def _told(client: Redis) -> dict[str, Any]:
    """Return what the server says of itself, as far as this user may ask."""
    told: dict[str, Any] = {}
    for ask in (
        client.info,
        partial(client.config_get, "proto-max-bulk-len"),
        partial(client.config_get, "maxclients"),
    ):
        with suppress(ResponseError):
            told.update(ask())  # type: ignore[arg-type]  # not asynchronous
    return told


def _shortages(told: dict[str, Any], needs: Needs) -> Iterator[str]:
    most, there = int(told.get("maxclients", 0)), int(told.get("connected_clients", 0))
    if most and most - there < needs.num_connections:
        yield (
            f"has room for {max(0, most - there)} connections more (maxclients {most}), and about "
            f"{needs.num_connections} are needed here: raise maxclients"
        )
    longest = int(told.get("proto-max-bulk-len", CHUNK_BYTES))
    if longest < CHUNK_BYTES:
        yield f"takes no value longer than {longest} bytes: set proto-max-bulk-len to {CHUNK_BYTES} or more"


def _refused(client: Redis, needs: Needs) -> list[str]:
    """Return the commands, and what they are for, that the server refuses.

    They are queued in a transaction that is then discarded: a server checks a command and its access rules when it
    queues it, and carries nothing out.
    """
    pool: Any = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_command("MULTI")
        connection.read_response()  # without a transaction nothing is sent
        words = [*needs.commands, ("DISCARD",)]
        connection.send_packed_command(connection.pack_commands(words))
        refused = [_why_refused(said, connection.read_response) for said in words]
    finally:
        connection.disconnect()
        pool.release(connection)
    with client.pubsub() as pubsub:  # type: ignore[no-untyped-call]  # redis has no types for it
        asked = [("PSUBSCRIBE", pubsub.psubscribe, needs.patterns), ("SUBSCRIBE", pubsub.subscribe, needs.channels)]
        for command, ask, names in asked:
            for name in names:
                ask(name)
                refused.append(_why_refused((command, name), lambda: pubsub.get_message(timeout=TIMEOUT_S)))
    return [text for text in dict.fromkeys(refused) if text]


def _why_refused(words: Words, read: Callable[[], object]) -> str:
    """Read the answer to a command, and return the command with why it is refused; empty if it isn't."""
    try:
        read()
    except OutOfMemoryError:
        return ""  # there is room again when updates have been taken in
    except ResponseError as error:
        told = str(error)
        return f"{words[0]} (unknown command)" if "unknown command" in told else f"{' '.join(words[:2])} ({told})"
    return ""


def _why_useless(broker: Broker, error: Exception) -> BrokerUnfitError | BrokerUnreachableError:
    """Return what is told of an error that ended the look."""
    if broker.sentinels and (why := _why_no_primary(broker)):
        return why
    if told := _why_no_tls(error):
        return BrokerUnfitError(f"the broker {broker} {told}")
    if isinstance(error, AuthenticationError | ResponseError) or str(error) in _TOLD:
        code = f"{error.status_code} " if isinstance(error, RedisError) and error.status_code else ""
        advice = ": it wants a password, redis://:PASSWORD@HOST" if code == "NOAUTH " else ""
        return BrokerUnfitError(f"the broker {broker} refuses: {code}{error}{advice}")
    how = " over TLS" if broker.tls else " without TLS" if re.search("closed|reset", str(error)) else ""
    return BrokerUnreachableError(
        f"no Redis answers at {broker}{how} ({error}): start one there, or name another with --broker URL or "
        f"{URL_VARIABLE}"
    )


def _why_no_primary(broker: Broker) -> BrokerUnfitError | BrokerUnreachableError | None:
    """Return what is told of sentinels of which none tells where the primary is; nothing if one does."""
    said, are_away = [], True
    for place, known in ask_each(broker.sentinels, broker.asking_sentinels):
        if isinstance(known, list):
            if broker.primary in known:
                return None
            what = f"knows no {broker.primary}{f', but {first_of(known)}' if known else ''}"
        elif told := _why_no_tls(known):
            what = told
        elif "unknown command" in str(known):
            what = "is no sentinel"
        elif isinstance(known, AuthenticationError | ResponseError):
            what = f"refuses ({known}): its own password is ?sentinel_password=PASSWORD"
        else:
            said.append(f"{place} is away ({known})")
            continue
        are_away = False
        said.append(f"{place} {what}")
    kind = BrokerUnreachableError if are_away else BrokerUnfitError
    return kind(f"no sentinel of {broker} tells where its primary is: {'; '.join(said)}")


def _why_no_tls(error: Exception) -> str:
    """Return what is told of an error of TLS; empty if it is another."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            advice = _CERTIFICATE_ADVICE.get(cause.verify_code, _NAME_AUTHORITY)
            return f"shows a certificate that isn't trusted ({cause.verify_message}){advice}"
        if isinstance(cause, ssl.SSLError):
            return (
                f"speaks TLS in another way, or not at all ({cause.reason or cause.strerror}), or wants a certificate "
                "that is shown by ?ssl_certfile=FILE"
            )
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
