"""Parts of shared data: each client that comes without one gets a free one, and no two the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from tasks.broker import run_lock
from tasks.scope import ClientScope
from tasks.workload import Part
from tests.integration import harness
from tests.integration.harness import Field, history, wait_until
from worker.partition_leases import take_lease


@pytest.mark.parametrize("num_parts", [1, 3])
def test_no_two_clients_have_the_same_part(broker: Redis, num_parts: int) -> None:
    # Given as many clients as parts
    notice = run_lock.Notice(run_id="run", num_parts=num_parts)
    taken = {number: take_lease(broker, f"client-{number}", notice) for number in range(num_parts)}
    assert list(taken.values()) == [Part(index, num_parts) for index in range(num_parts)]
    # When another comes, then there is none for it, and the others keep theirs
    assert take_lease(broker, "late", notice) is None
    assert take_lease(broker, "client-0", notice) == Part(0, num_parts)
    # And when one is gone for good, then it gets that one's
    broker.expire(ClientScope("client-0").part_key, 3600)
    broker.set(ClientScope("late").key, "{}")
    assert take_lease(broker, "late", notice) == Part(0, num_parts)


def test_a_client_writes_no_others_lease_and_none_can_take_a_part_from_who_has_it(broker: Redis) -> None:
    # Given four clients with a part each, all of whose leases have stood for long
    notice, clients = run_lock.Notice(run_id="run", num_parts=4), ("anna", "bert", "carl", "dora")
    for index, client_id in enumerate(clients):
        assert take_lease(broker, client_id, notice) == Part(index, 4)
        broker.expire(ClientScope(client_id).part_key, 3600)
    # When anna alone is there, and eve claims her part, and what is none
    broker.set(ClientScope("anna").key, "{}")
    for claimed in ("0/4", "7/4", "-1/4", "nonsense", ""):
        broker.set(ClientScope("eve").part_key, claimed)
        # Then eve gets one of those who are gone
        assert take_lease(broker, "eve", notice) == Part(1, 4)
        broker.expire(ClientScope("eve").part_key, 3600)
    broker.rpush(ClientScope("list").part_key, "0/4")
    # And anna keeps hers, and bert, who is back while eve is there, gets another that is free
    broker.set(ClientScope("eve").key, "{}")
    assert take_lease(broker, "anna", notice) == Part(0, 4)
    assert take_lease(broker, "bert", notice) == Part(2, 4)
    # And each has written its own key alone
    keys = {f"fl:part:{name}".encode() for name in (*clients, "eve", "list")}
    assert {*broker.scan_iter("*")} == keys | {ClientScope(name).key.encode() for name in ("anna", "eve")}


@pytest.mark.usefixtures("counted")
def test_a_client_more_than_there_are_parts_waits_and_says_so(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a run of one client, which has all of the data and is held in its first round
    run_dir, held = tmp_path / "run", tmp_path / "held"
    held.touch()
    program = field.run(run_dir, "--rounds 2 --clients 1 --no-evaluate-clients", broker=broker)
    field.client(broker, "client-1", HELD=str(held))
    wait_until(lambda: harness.present(broker) == {"client-1"}, "the first client is there")

    # When a second comes while it trains
    late = field.client(broker, "client-2")
    wait_until(lambda: "waits until one of the 1 parts of the data is free" in late.output, "it is told")
    held.unlink()

    # Then no example is trained on twice
    assert "start it with a larger --clients" in late.output
    program.succeeds()
    assert [sorted(record["responses"]) for record in history(run_dir)] == [["client-1"]] * 2
