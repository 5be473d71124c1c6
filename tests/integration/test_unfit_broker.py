"""Brokers that answer and won't do, or don't answer: what is told at the start of either side."""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis import Redis
from redis.exceptions import BusyLoadingError, RedisError

from tasks.broker import needs
from tasks.broker.connection import connect
from tasks.broker.probe import check_broker
from tasks.errors import BrokerUnfitError, BrokerUnreachableError, ConfigurationError
from tests.integration import harness
from tests.integration.harness import Field
from tests.integration.pump import pump

ORCHESTRATOR, CLIENT = needs.of_orchestrator("run"), needs.of_client("anna", "client.anna")
RULES: dict[str, Any] = {"enabled": True, "passwords": ["+secret"], "categories": ["+@all"], "keys": ["*"]}


def refusal(url: str, side: needs.Needs = ORCHESTRATOR) -> str:
    """What is told of a broker that won't do."""
    with pytest.raises(ConfigurationError) as caught:
        check_broker(url, side)
    told = str(caught.value)
    assert "\n" not in told
    assert "secret" not in told
    kind = BrokerUnreachableError if "no Redis answers" in told or "for now" in told else BrokerUnfitError
    assert type(caught.value) is kind
    return told


UNFIT = {
    "replica": (
        "--replicaof 127.0.0.1 1",
        "is a replica of 127.0.0.1:1, which keeps nothing that it is told: name its",
    ),
    "lonely replica": ("--replicaof 127.0.0.1 1 --replica-serve-stale-data no", "is a replica of 127.0.0.1:1"),
    "cluster": (
        harness.CLUSTER,
        "is a node of a cluster, which spreads keys over many: use a server",
    ),
    "connections": ("--maxclients 10", r"has room for \d connections more \(maxclients 10\), and about 16 are needed"),
    "length": (
        "--proto-max-bulk-len 1048576",
        "takes no value longer than 1048576 bytes: set proto-max-bulk-len to 20971",
    ),
    "renamed": (
        "--rename-command EVALSHA hidden --rename-command SCAN hid",
        r"refuses EVALSHA \(unknown .*SCAN \(unknown",
    ),
    "no transactions": ("--rename-command MULTI hidden", "refuses: .*unknown command 'MULTI'"),
    "no replicas": ("--min-replicas-to-write 1", "refuses for now: too few replicas follow it"),
}


@pytest.mark.parametrize(("options", "told"), UNFIT.values(), ids=UNFIT)
def test_a_server_that_wont_do_is_told_with_what_to_do(options: str, told: str) -> None:
    # Given a server that is set so, when an orchestrator looks at it, then it says what is wrong and what to do
    with harness.server(*options.split()) as server:
        found = refusal(harness.url(server.client))
    assert re.search(told, found), found


ACCESS = {
    "a command": ({"commands": ["-evalsha"]}, CLIENT, r"refuses EVALSHA 0+ \(.*no permissions to run the 'evalsha'"),
    "keys": (
        {"keys": ["fl:*", "client.*", "_kombu*"]},
        CLIENT,
        "refuses .*celery-task-meta-anna.*permissions to access",
    ),
    "channels": ({"reset_channels": True}, CLIENT, "refuses PUBLISH celery-task-meta-anna/run/1/train .*channel"),
    "listening": (
        {"reset_channels": True, "channels": ["celery-task-meta-run/*"]},
        ORCHESTRATOR,
        r"refuses PSUBSCRIBE celery-task-meta-\*run/\* .*SUBSCRIBE fl:presence",
    ),
}


@pytest.mark.parametrize(("rules", "side", "told"), ACCESS.values(), ids=ACCESS)
def test_access_rules_that_forbid_what_is_needed_are_told(
    broker: Redis, rules: dict[str, Any], side: needs.Needs, told: str
) -> None:
    # Given a user who may not do all that a side does, when that side looks, then it says what the server says
    broker.acl_setuser("anna", **{**RULES, **rules})
    found = refusal(harness.url(broker).replace(f"{harness.USER}:{harness.ENCODED}", "anna:secret"), side)
    assert re.search(told, found), found


def test_a_user_who_may_ask_nothing_about_the_server_but_do_all_that_is_needed_is_let_in(broker: Redis) -> None:
    # Given a client's user, pinned to keys and channels of its own, to whom the server tells nothing of itself
    keys = ["fl:*anna*", "fl:federation", "client.anna*", "_kombu.binding.client.anna", "celery-task-meta-anna/*"]
    channels = ["celery-task-meta-anna/*", "fl:presence"]
    broker.acl_setuser("anna", **{**RULES, "commands": ["-info", "-config"], "keys": keys, "channels": channels})
    # When its client looks, then there is nothing to tell, and nothing was done
    check_broker(harness.url(broker).replace(f"{harness.USER}:{harness.ENCODED}", "anna:secret"), CLIENT)
    assert broker.keys("*") == []


def test_a_server_that_is_too_old_is_told_with_its_version(broker: Redis) -> None:
    # Given a server that says that it is an old one
    with pump(broker, [2**20], change=lambda data: re.sub(rb"(redis_version:)7\.2\.\d", rb"\g<1>6.0.9", data)) as port:
        # When it is looked at, then the message says so
        assert "is a Redis 6.0.9: use 6.2 or later, or any Valkey" in refusal(f"redis://127.0.0.1:{port}")


def test_a_wrong_password_and_a_database_that_isnt_there_are_told_as_the_server_tells_them(broker: Redis) -> None:
    # Given a server with a user, when the password or the database is wrong, or none is given, then it says so
    url = harness.url(broker)
    assert "refuses: WRONGPASS " in refusal(url.replace(harness.ENCODED, "secret"))
    assert "refuses: ERR DB index is out of range" in refusal(f"{url}?db=99")
    broker.acl_setuser("default", enabled=False)
    assert "NOAUTH" in refusal(url.replace(f"{harness.USER}:{harness.ENCODED}@", ""))


@contextmanager
def saying(answer: bytes) -> Iterator[str]:
    """The URL of something that answers whatever it is asked like this, or closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    with listener.accept()[0] as line:
                        line.recv(1)
                        line.sendall(answer)
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("scheme", "answer", "told"),
    [
        ("redis", b"", "no Redis answers at redis://127.0.0.1:.* without TLS "),
        ("redis", b"HTTP/1.1 400 Bad Request\r\n\r\n", "no Redis answers at redis://"),
        ("rediss", b"-ERR unknown command\r\n", "speaks TLS in another way, or not at all"),
    ],
)
def test_what_is_no_redis_is_told(scheme: str, answer: bytes, told: str) -> None:
    # Given something else than a Redis at a port, when it is looked at, then that is told
    with saying(answer) as at:
        assert re.search(told, refusal(f"{scheme}://{at}"))


def test_a_port_where_nobody_listens_and_a_socket_that_isnt_there_cant_be_reached() -> None:
    # Given nobody, when a sign of life is asked for, then it is told with advice, and without the password
    for url in ("redis://:secret@127.0.0.1:1/0", "redis+socket:///nowhere/redis.sock"):
        assert re.search("no Redis answers at .*: start one there, or name another with --broker URL", refusal(url))


def test_a_server_that_loads_its_data_is_waited_for() -> None:
    # Given a server that takes a while to load what it has
    options = "--key-load-delay 2000 --loading-process-events-interval-bytes 1024"
    with harness.server(*options.split()) as server:
        for number in range(1000):
            server.client.set(str(number), os.urandom(100))
        server.client.save()
        server.kill()
        server.begin()
        with connect(harness.url(server.client), retries=0) as client:
            harness.wait_until(lambda: is_loading(client), "it loads", 30)
        # When an orchestrator looks, then a moment's patience isn't enough, and a minute's is
        assert "refuses for now: it loads its data" in refusal(harness.url(server.client))
        check_broker(harness.url(server.client), ORCHESTRATOR, 60)
        assert server.client.dbsize() == 1000


def is_loading(client: Redis) -> bool:
    """Say whether a server that was just started loads its data."""
    try:
        return not client.ping()
    except BusyLoadingError:
        return True
    except RedisError:
        return False


def test_a_certificate_that_isnt_trusted_ends_both_sides(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a broker over TLS, whose certificate is of an authority of one's own
    own, context, trusted = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tmp_path / "ca.pem"
    own.cert_pem.write_to_path(str(trusted))
    own.issue_cert("127.0.0.1").configure_cert(context)
    with pump(broker, [2**16], context) as port:
        plain = f"rediss://{harness.USER}:{harness.ENCODED}@127.0.0.1:{port}/0"
        # When both sides are started and don't know the authority, then each ends with a line
        sides = field.run(tmp_path / "run", broker=plain), field.client(plain, "anna")
        for side in sides:
            assert side.wait() == 2
            assert "error: the broker rediss://tester:**@127.0.0.1" in side.output
            assert "shows a certificate that isn't trusted (" in side.output
            assert "Traceback" not in side.output
        # And when they know it, one by the URL and one by the environment, then a run is carried out
        field.client(plain, "anna", SSL_CERT_FILE=str(trusted))
        field.run(tmp_path / "run", "--clients 1 --rounds 1", broker=f"{plain}?ssl_ca_certs={trusted}").succeeds()
