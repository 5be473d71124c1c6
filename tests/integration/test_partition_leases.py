"""Parts of shared data: each client that comes without one gets a free one, and no two the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from orchestrator.transport.broker_memory import BrokerMemory, WatchedRegistry
from orchestrator.transport.part_grants import PartGrants
from tasks.broker import run_lock
from tasks.errors import BrokerUnreachableError
from tasks.scope import ClientScope, who_wants_part
from tasks.workload import Part
from tests.integration import harness
from tests.integration.harness import Field, history, wait_until
from tests.support import announcement
from worker.partition_leases import Asking


class Scene:
    """A run with so many parts, and clients that ask for one."""

    def __init__(self, broker: Redis, num_parts: int) -> None:
        self.notice = run_lock.Notice(run_id="run", num_parts=num_parts)
        self._broker = broker
        self._grants = PartGrants(broker, num_parts)

    def ask(self, *client_ids: str) -> list[Part | None]:
        """Have clients ask, all before any is answered; return what each finds then."""
        asking = [Asking(self._broker, client_id) for client_id in client_ids]
        assert [each.part(self.notice) for each in asking] == [None] * len(asking)
        self._grants.grant(client_ids)
        return [each.part(self.notice) for each in asking]


@pytest.mark.parametrize("num_parts", [1, 3, 250])
def test_no_two_clients_have_the_same_part(broker: Redis, num_parts: int) -> None:
    # Given as many clients as parts, which ask one after the other, or all at once
    scene, names = Scene(broker, num_parts), [f"client-{number:03d}" for number in range(num_parts)]
    first, *others = names
    assert scene.ask(first) + scene.ask(*others) == [Part(index, num_parts) for index in range(num_parts)]
    # When another comes, then there is none for it, and the others keep theirs
    assert scene.ask("late") == [None]
    assert scene.ask("late", first) == [None, Part(0, num_parts)]
    # And when one is gone for good, then it gets that one's
    broker.expire(ClientScope(first).part_key, 3600)
    broker.set(ClientScope("late").key, "{}")
    assert scene.ask("late") == [Part(0, num_parts)]


def test_no_client_gets_a_part_from_who_has_it(broker: Redis) -> None:
    # Given four clients with a part each, all of which they have had for long
    scene, clients = Scene(broker, 4), ("anna", "bert", "carl", "dora")
    for index, client_id in enumerate(clients):
        assert scene.ask(client_id) == [Part(index, 4)]
        broker.expire(ClientScope(client_id).part_key, 3600)
    # When anna alone is there, and eve claims her part, and what is none
    broker.set(ClientScope("anna").key, "{}")
    for claimed in ("0/4 ab", "0/4", "7/4 ab", "-1/4 ab", "nonsense", ""):
        broker.set(ClientScope("eve").part_key, claimed)
        # Then eve gets one of those who are gone
        assert scene.ask("eve") == [Part(1, 4)]
        broker.expire(ClientScope("eve").part_key, 3600)
    broker.rpush(ClientScope("list").part_key, "0/4")
    # And anna keeps hers, and bert, who is back while eve is there, gets another that is free
    broker.set(ClientScope("eve").key, "{}")
    assert scene.ask("bert", "anna") == [Part(2, 4), Part(0, 4)]
    # And nothing else has been left
    keys = {f"fl:part:{name}".encode() for name in (*clients, "eve", "list")}
    assert {*broker.scan_iter("*")} == keys | {ClientScope(name).key.encode() for name in ("anna", "eve")}


def test_a_part_of_another_run_or_of_a_former_start_is_none(broker: Redis) -> None:
    # Given a client that was granted a part in a run of four, and has vanished
    assert Scene(broker, 4).ask("anna") == [Part(0, 4)]
    # When it is started again, then it has none until it is granted one, be it the same
    asking = Asking(broker, "anna")
    assert asking.part(run_lock.Notice(run_id="run", num_parts=4)) is None
    PartGrants(broker, 4).grant(["anna"])
    assert asking.part(run_lock.Notice(run_id="other", num_parts=3)) is None
    assert asking.part(run_lock.Notice(run_id="run", num_parts=4)) == Part(0, 4)


def test_who_is_there_keeps_its_part_though_the_broker_has_forgotten_it(broker: Redis) -> None:
    # Given three clients with a part each, one of which the broker has forgotten, and one it will have soon
    scene, now = Scene(broker, 3), [0.0]
    assert scene.ask("anna", "bert", "carl") == [Part(index, 3) for index in range(3)]
    broker.delete(ClientScope("anna").part_key)
    broker.expire(ClientScope("bert").part_key, 1)
    # When the run looks who is there, carl not among them
    grants = PartGrants(broker, 3, lambda: now[0])
    there = [announcement("anna", part="0/3"), announcement("bert", part="1/3"), announcement("dora", part="1/4")]
    for said in there:
        broker.set(ClientScope(said.client_id).key, said.model_dump_json())
    grants.keep(there)
    # Then each has its part, and who comes new gets the one of who is gone
    broker.expire(ClientScope("carl").part_key, 3600)
    assert scene.ask("eve") == [Part(2, 3)]
    assert not broker.exists(ClientScope("dora").part_key)
    # And who comes in the same minute has its part at once, and the others are noted once a minute
    broker.delete(ClientScope("anna").part_key, ClientScope("eve").part_key)
    there.append(announcement("eve", part="2/3"))
    grants.keep(there)
    assert broker.get(ClientScope("eve").part_key) == b"2/3 0"
    assert not broker.exists(ClientScope("anna").part_key)
    now[0] += 60
    grants.keep(there)
    assert broker.get(ClientScope("anna").part_key) == b"0/3 0"


def test_who_announces_itself_to_an_emptied_broker_keeps_its_part(broker: Redis) -> None:
    # Given a client that a run knows with its part, at a broker that is emptied, to which it announces itself again
    registry = WatchedRegistry(broker, BrokerMemory(broker, "run", lambda: 0.0))
    grants, anna = PartGrants(broker, 2, lambda: 0.0), announcement("anna", part="0/2")
    broker.set(ClientScope("anna").key, anna.model_dump_json())
    assert grants.look(registry.present).keys() == {"anna"}
    broker.flushall()
    with pytest.raises(BrokerUnreachableError, match="emptied"):
        grants.look(registry.present)
    broker.set(ClientScope("anna").key, anna.model_dump_json())
    # When the run looks again, then the part is hers, and who asks for one gets the other
    assert grants.look(registry.present).keys() == {"anna"}
    asking = Asking(broker, "bert")
    notice = run_lock.Notice(run_id="run", num_parts=2)
    assert asking.part(notice) is None
    grants.grant(["bert"])
    assert asking.part(notice) == Part(1, 2)


@pytest.mark.parametrize("word", ["", "not hexadecimal", "a" * 33, "ab\n", "0/4"])
def test_who_asks_with_nonsense_is_granted_nothing(broker: Redis, word: str) -> None:
    # Given what no client asks with, and a list, and nobody, when they are to be granted parts, then nothing is written
    broker.set(ClientScope("anna").wants_part_key, word)
    broker.rpush(ClientScope("bert").wants_part_key, "ab")
    PartGrants(broker, 4).grant(["anna", "bert", "carl"])
    assert not [*broker.scan_iter("fl:part:*")]


def test_a_client_s_question_is_told_from_other_messages() -> None:
    # Given messages on the channel of presence, when it is asked who wants a part, then it is told who does
    assert who_wants_part(ClientScope("anna").wants_part_key.encode()) == "anna"
    for other in (b"anna", b"fl:wants-part:", b"fl:wants-part:*", b"fl:wants-part:" + b"a" * 65, b"\xff", b""):
        assert who_wants_part(other) == ""


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
