"""A broker that is a pair of servers, which sentinels watch over: a failover in the middle of a round."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from tasks.blobs.blob import publish
from tasks.blobs.stores import open_store
from tasks.broker import needs
from tasks.broker.app import make_app
from tasks.broker.connection import connect
from tasks.broker.probe import check_broker
from tests.integration import harness, unfit
from tests.integration.harness import Field, history, wait_until
from tests.integration.pump import pump

NUM_CLIENTS = 8


@contextmanager
def pair(folder: Path) -> Iterator[tuple[Redis, str]]:
    """The replica of a primary, and the URL by which a sentinel tells where the primary is."""
    ports = [harness.free_port() for _ in range(3)]
    with ExitStack() as stack:
        _, second = (
            stack.enter_context(harness.server("--port", str(port), *options)).client
            for port, options in zip(ports, ((), ("--replicaof", f"127.0.0.1 {ports[0]}")), strict=False)
        )
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {ports[2]}\ndir {folder}\nsentinel monitor main 127.0.0.1 {ports[0]} 1\n"
            "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n"
        )
        watching = subprocess.Popen([harness.SERVER, str(config), "--sentinel"], stdout=subprocess.DEVNULL)
        stack.callback(watching.wait)
        stack.callback(watching.kill)
        with Redis(port=ports[2]) as sentinel:
            wait_until(lambda: _num_replicas(sentinel) == 1, "the sentinel knows the replica")
        wait_until(lambda: second.info("replication")["master_link_status"] == "up", "the replica follows")
        yield (
            second,
            f"sentinel://{harness.USER}:{harness.ENCODED}@127.0.0.1:1,127.0.0.1:{ports[2]}/0?primary=main",
        )


def _num_replicas(sentinel: Redis) -> int:
    try:
        told: Any = sentinel.sentinel_master("main")
        return int(told["num-slaves"])
    except RedisError:
        return 0


def test_a_round_in_the_middle_of_which_the_primary_changes_closes_with_all_updates(
    field: Field, tmp_path: Path
) -> None:
    # Given a round of eight clients, one of whom waits for orders while the others train, over a pair of servers
    run_dir = tmp_path / "run"
    with pair(tmp_path) as (second, url):
        ward = field.client(url, "ward", CLIENT_COUNT=str(NUM_CLIENTS - 1), CLIENT_CONCURRENCY="1", STEP_S="0.5")
        alone = field.client(url, "zoe", CLIENT_PART="1/2")
        options = f"--clients {NUM_CLIENTS} --min-updates {NUM_CLIENTS} --rounds 2"
        program = field.run(run_dir, options, broker=url)
        wait_until(
            lambda: "2/train: trained" in alone.output and "2/train: begun" in ward.output, "round 2 is under way", 90
        )

        # When the sentinel makes the replica the primary
        with Redis(port=int(url.rpartition(":")[2].partition("/")[0])) as sentinel:
            sentinel.sentinel_failover("main")
        wait_until(lambda: second.info("replication")["role"] == "master", "there is another primary", 30)
        assert len(history(run_dir)) == 1

        # Then the round closes with an update of each, counted once, and the same workers go on
        program.succeeds()
        assert [record["status"] for record in history(run_dir)] == ["closed"] * 2
        assert [len(record["responses"]) for record in history(run_dir)] == [NUM_CLIENTS] * 2
        assert {a["status"] for record in history(run_dir) for a in record["responses"].values()} == {"trained"}
        alone.succeeds()
        ward.succeeds()


def test_sentinels_with_a_password_of_their_own_are_asked_over_tls(tmp_path: Path) -> None:
    # Given a server and a sentinel, each behind TLS, whose sentinel tells where that of the server is, to a user alone
    port, context = harness.free_port(), unfit.tls_of(tmp_path)
    rules = ("user default off", "user asker on >sec/r+t &* ~* +@all", f"sentinel monitor main 127.0.0.1 {port} 1")
    with ExitStack() as stack:
        server = stack.enter_context(harness.server("--port", str(port))).client
        _, sentinel = stack.enter_context(unfit.sentinel(*rules))
        behind = stack.enter_context(pump(server, [2**20], context))
        told = str(behind).encode()
        asked = stack.enter_context(
            pump(sentinel, [2**20], context, lambda data: data.replace(str(port).encode(), told))
        )
        url = (
            f"sentinels://{harness.USER}:{harness.ENCODED}@127.0.0.1:1,127.0.0.1:{asked}/2?primary=main"
            f"&sentinel_user=asker&sentinel_password=sec%2Fr+t&ssl_ca_certs={tmp_path}/ca.pem"
        )
        # When a client looks, and all who connect there do
        check_broker(url, needs.of_client("anna", "client.anna"))
        app = make_app("test", url, include=())
        connect(url).set("ours", 1)
        publish(open_store(url), "blob", [memoryview(b"chunk")])
        app.backend.client.set("results", 1)  # type: ignore[attr-defined]
        with app.connection_for_write() as connected:
            connected.Producer().publish("1", routing_key="messages")
        # Then all have found the server
        with Redis(unix_socket_path=server.connection_pool.connection_kwargs["path"], db=2) as found:
            assert {"ours", "blob:0", "results", "messages"} <= {key.decode() for key in found.keys()}  # noqa: SIM118
