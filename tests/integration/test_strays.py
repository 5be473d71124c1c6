"""What clients put at the broker beside their updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis import Redis

from orchestrator.transport.strays import KEPT_S, LOOK_S, STRAY_BYTES, Strays
from tasks.blobs.blob import TTL_S
from tasks.broker.run_lock import Notice, RunLock
from tasks.scope import RUN_LOCK_KEY, ClientScope, RunScope, turn_key
from tests.integration.harness import Field, history, part
from tests.integration.liar import Liar, living


def test_what_no_update_has_is_removed_and_who_has_too_much_loses_all(broker: Redis) -> None:
    # Given the model, an honest update on its way with its turn, and what two others put beside theirs
    anna, eve, zoe = map(ClientScope, ("anna", "eve", "zoe"))
    kept = [
        f"{RunScope('run').new_handed_out()}:0",
        f"{RunScope('run').model(1)}:0",
        f"{anna.update('run', 1)}:0",
        f"{anna.survey('run', 2)}:0",
    ]
    strays = [f"{eve.update('run', 1)}:99999", f"{eve.update('run', 1)}:x", "fl:blob:eve/junk", "fl:blob:update/eve/x"]
    most_bytes = (len(strays) + 2) * STRAY_BYTES
    for key in (*kept, *strays, f"{eve.update('run', 1)}:0"):
        broker.set(key, b"x" * 1000)
    broker.set(b"fl:blob:eve/\xff", "x")
    broker.rpush(turn_key(anna.update("run", 1)), "go")
    broker.set(f"{zoe.update('run', 1)}:0", b"x" * (most_bytes // 2))
    broker.rpush(turn_key(zoe.update("run", 1)), b"x" * (most_bytes // 2))
    now = [0.0]
    found = Strays(broker, "run", lambda: now[0])
    # When each may have so much, then who has more is told of, and what is left is what updates may have
    over = found.remove(most_bytes)
    assert over.keys() == {"zoe"}
    assert over["zoe"] > most_bytes
    left: set[Any] = {*broker.scan_iter("fl:blob:*")}
    assert {key.decode() for key in left} == {*kept, f"{eve.update('run', 1)}:0", turn_key(anna.update("run", 1))}
    # And the next look is a while later
    broker.set("fl:blob:eve/junk", "x")
    now[0] += LOOK_S / 2
    assert found.remove(most_bytes) == {}
    assert broker.exists("fl:blob:eve/junk")
    now[0] += LOOK_S
    assert found.remove(most_bytes) == {}
    assert not broker.exists("fl:blob:eve/junk")


def test_what_another_run_has_is_left_to_that_run(broker: Redis) -> None:
    # Given two runs that are on, an update of a client's on its way for each, and a model of a run that is on no more
    anna = ClientScope("anna")
    kept = [f"{RunScope('other').model(1)}:0", f"{anna.update('other', 1)}:0", f"{anna.update('run', 1)}:0"]
    for key in (*kept, f"{RunScope('former').model(1)}:0"):
        broker.set(key, b"x" * 2 * STRAY_BYTES)
    for run_id in ("run", "other"):
        RunLock(broker, Notice(run_id=run_id, num_parts=1)).put_up()
    # When one of them looks, then a client may have as much as it may for that run beside what the other run's has
    assert Strays(broker, "run").remove(3 * STRAY_BYTES) == {}
    left: set[Any] = {*broker.scan_iter("*")}
    assert {key.decode() for key in left} == {*kept, RUN_LOCK_KEY}


def test_what_a_run_that_was_killed_may_find_is_left_to_it_and_more_is_too_much(broker: Redis) -> None:
    # Given a run that was killed, the model of its open round, and updates of two clients, one with far too much
    killed, anna, eve = RunScope("killed"), ClientScope("anna"), ClientScope("eve")
    broker.set(killed.mark_key, 17, ex=TTL_S)
    kept = [f"{killed.model(1)}:0", f"{anna.update('killed', 2)}:0"]
    for key in kept:
        broker.set(key, b"x" * 2**20)
    broker.mset({f"{eve.update('killed', 2)}:{index}": b"x" * 2**20 for index in range(64)})
    broker.set("fl:blob:update/anna/killed/junk", b"x")
    # When another run looks, whose updates are far smaller, then one client has too much, and the other has not
    assert Strays(broker, "run").remove(2 * STRAY_BYTES).keys() == {"eve"}
    left: set[Any] = {*broker.scan_iter("fl:blob:*")}
    assert {key.decode() for key in left} == {*kept}
    # And where nobody has taken the run up again for an hour, it is removed, and nobody blamed
    broker.expire(killed.mark_key, TTL_S - KEPT_S - 1)
    assert Strays(broker, "run").remove(2 * STRAY_BYTES) == {}
    assert broker.keys("fl:blob:*") == []


def test_many_keys_of_next_to_nothing_are_too_much_too(broker: Redis) -> None:
    # Given a client with a thousand keys of a byte, which take less than a tenth of a megabyte
    broker.mset({f"fl:blob:eve/{number}": "x" for number in range(1000)})
    # When each client may have fifteen, then that is more than it may have
    assert Strays(broker, "run").remove(15 * 2**20).keys() == {"eve"}
    assert broker.keys("*") == []


def test_a_client_that_fills_the_broker_takes_no_further_part(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given an honest client, and one that puts megabytes beside each of its answers
    def fill(liar: Liar, order: dict[str, Any]) -> bytes:
        name = ClientScope("mallory").update(order["run_id"], order["round_number"])
        liar.client.mset({f"{name}:{index}": b"x" * 2**20 for index in range(9, 17)})
        return b"{}"

    field.client(broker, "client-1", STEP_S="0.3", **part(1, 2))
    with living(Liar(broker, ["mallory"], fill)):
        program = field.run(tmp_path / "run", "--rounds 4 --clients 2 --min-updates 1", broker=broker)
        program.succeeds()
    # Then what it put is gone, and from then on the other trains alone
    assert "WARNING client mallory passed over: it put " in program.output
    assert history(tmp_path / "run")[-1]["cohort"] == ["client-1"]
    assert broker.keys("fl:blob:mallory/*") == []
