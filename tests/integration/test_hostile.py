"""Hostile clients: whatever they send is rejected with its reason, no process dies, and the run completes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from redis import Redis

from tasks import arrays
from tasks.blobs import blob
from tasks.blobs.in_redis import RedisChunks
from tasks.messages import Response, Status, encode
from tasks.scope import ClientScope, RunScope
from tests.integration import harness
from tests.integration.harness import Field, history, part
from tests.integration.liar import Liar, living

SIZE = 10
GOOD = {"point": np.ones(SIZE, np.float32)}


class Hostile(Liar):
    """A client that sends updates, and lies about them."""

    def send(self, order: dict[str, Any], update: dict[str, Any] = GOOD, **changes: Any) -> bytes:
        """Put an update into the blob store and return an answer to the order with ``changes`` in it."""
        name = ClientScope("mallory").update(order["run_id"], order["round_number"])
        ref = blob.publish(RedisChunks(self.client), name, arrays.encode(update))
        return self.tell(order, update=encode(ref), **changes)

    def tell(self, order: dict[str, Any], **changes: Any) -> bytes:
        """Return an answer to the order, with ``changes`` in it, as Celery's backend stores it."""
        response = Response(
            order_id=order["order_id"], client_id="mallory", status=Status.TRAINED, num_examples=10, num_steps=1
        )
        result = {**encode(response), **changes}
        return json.dumps({"status": "SUCCESS", "result": result, "task_id": order["order_id"]}).encode()


def truncated(hostile: Hostile, order: dict[str, Any]) -> bytes:
    raw = hostile.send(order)
    name = ClientScope("mallory").update(order["run_id"], order["round_number"])
    hostile.client.setrange(f"{name}:0", 0, b"")
    hostile.client.set(f"{name}:0", harness.stored(hostile.client, f"{name}:0")[:-1])
    return raw


def overlong_chunk(hostile: Hostile, order: dict[str, Any]) -> bytes:
    raw = hostile.send(order)
    name = ClientScope("mallory").update(order["run_id"], order["round_number"])
    hostile.client.setrange(f"{name}:0", 500 * 10**6, b"x")
    return raw


def wrong_digest(hostile: Hostile, order: dict[str, Any]) -> bytes:
    document = json.loads(hostile.send(order))
    document["result"]["update"]["digest"] = "0" * 64
    return json.dumps(document).encode()


def two_gigabytes(hostile: Hostile, order: dict[str, Any]) -> bytes:
    document = json.loads(hostile.send(order))
    document["result"]["update"]["size_bytes"] = 2 * 2**30
    return json.dumps(document).encode()


def another_blob(hostile: Hostile, order: dict[str, Any]) -> bytes:
    document = json.loads(hostile.send(order))
    document["result"]["update"]["name"] = ClientScope("client-1").update(order["run_id"], 1)
    return json.dumps(document).encode()


def forged(_: Hostile, __: dict[str, Any]) -> bytes:
    failure = {"exc_type": "SystemExit", "exc_module": "builtins", "exc_message": ["1"]}
    return json.dumps({"status": "FAILURE", "result": failure}).encode()


def update(changed: dict[str, Any]) -> Callable[[Hostile, dict[str, Any]], bytes]:
    return lambda hostile, order: hostile.send(order, changed)


def claim(**changes: Any) -> Callable[[Hostile, dict[str, Any]], bytes]:
    return lambda hostile, order: hostile.send(order, **changes)


ATTACKS: dict[str, tuple[Callable[[Hostile, dict[str, Any]], bytes], str, str]] = {
    "wrong name": (update({"pint": GOOD["point"]}), "rejected", "array names differ"),
    "wrong shape": (update({"point": np.ones(SIZE + 1, np.float32)}), "rejected", "F32 (11,)"),
    "wrong dtype": (update({"point": np.ones(SIZE, np.float16)}), "rejected", "F16"),
    "NaN": (update({"point": np.full(SIZE, np.nan, np.float32)}), "rejected", "NaN or infinite"),
    "Inf": (update({"point": np.full(SIZE, np.inf, np.float32)}), "rejected", "NaN or infinite"),
    "truncated": (truncated, "rejected", "bytes instead of"),
    "wrong digest": (wrong_digest, "rejected", "don't match their digest"),
    "2 GB": (two_gigabytes, "rejected", "2147483648 bytes"),
    "another's blob": (another_blob, "rejected", "instead of"),
    "10^12 examples": (claim(num_examples=10**12), "rejected", "announced 10"),
    "-1 examples": (claim(num_examples=-1), "rejected", "num_examples"),
    "forged exception": (forged, "failed", "the client's worker gave up the order"),
    "not JSON": (lambda *_: b"\x80\x04.", "rejected", "not JSON"),
    "another order": (claim(order_id="client-1/x/1/train"), "rejected", "another order"),
    # At last: as soon as the orchestrator sees it, it is removed, and its client takes no further part.
    "a chunk of 500 MB": (overlong_chunk, "rejected", "bytes instead of|is missing"),
}


def test_whatever_a_hostile_client_sends_is_rejected_with_its_reason(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given an honest client, and one that tries another attack in each round
    attacks = list(ATTACKS.values())
    run_dir = tmp_path / "run"
    hostile = Hostile(broker, ["mallory"], lambda self, order: attacks[order["round_number"] - 1][0](self, order))
    field.client(broker, "client-1", **part(1, 2), CLIENT_HEARTBEAT_S="3")  # Redis makes 500 MB, and stands still

    # When they take part in a run of as many rounds
    with living(hostile):
        program = field.run(run_dir, f"--rounds {len(attacks)} --no-evaluate-clients", broker=broker)
        code = program.wait()

    # Then each attack is rejected with its reason, while the honest update is taken in
    assert code == 0, program.output
    for (name, (_, status, reason)), record in zip(ATTACKS.items(), history(run_dir), strict=True):
        told = record["responses"]["mallory"]
        assert (name, told["status"]) == (name, status), told
        assert any(each in told["reason"] for each in reason.split("|")), (name, told)
        assert record["responses"]["client-1"]["status"] == "trained"
        assert record["status"] == "closed"

    # And no process had to be started anew
    assert "started anew" not in program.output


def test_garbage_on_the_orchestrators_queue_ends_its_worker_and_not_the_run(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a run under way
    run_dir = tmp_path / "run"
    field.client(broker, "client-1", **part(1, 1), STEP_S="0.1")
    program = field.run(run_dir, "--rounds 4 --clients 1 --no-evaluate-clients", broker=broker)
    harness.wait_until(lambda: history(run_dir), "a round is closed")

    # When somebody who may write there puts what is not JSON on the run's queue
    run_id = json.loads((run_dir / "config.json").read_text())["run_id"]
    broker.lpush(RunScope(run_id).queue, b"\x00not json", b"[1, 2]", b'{"body": 1}')

    # Then the run completes all the same
    program.succeeds()
    assert [record["status"] for record in history(run_dir)] == ["closed"] * 4
