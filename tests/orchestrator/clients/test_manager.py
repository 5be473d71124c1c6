from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from celeriac.selectors import ConnectedClient, Selection, load_selector
from orchestrator.clients.manager import FEW, FRESH_S, MAX_TOLD, ClientManager
from tasks.announcement import Announcement
from tasks.errors import BrokerUnreachableError, SelectionError, TooFewClientsError
from tests.support import MemoryRegistry, announcement

CLIENTS = st.sampled_from(["anna", "bert", "carl", "dora", "emil"])


def test_clients_that_are_passed_over_are_told_why_once() -> None:
    # Given a run of one workload that has begun with anna, takes in no more, and wants five examples or more
    def misfit(client: ConnectedClient) -> str:
        return "it is too small" if client.announcement.num_examples < 5 else ""

    registry = MemoryRegistry()
    manager = ClientManager(
        registry.present,
        workload="tests.support:Pull",
        misfit=misfit,
        tell=registry.say_passed_over,
        blobs="broker",
        num_parts=3,
    )
    registry.announce(announcement("anna", num_examples=4))
    registry.announce(announcement("bert", workload="digits"))
    registry.announce(announcement("carl"))
    registry.announce(announcement("emil", blobs="file:3f9c01aa"))
    registry.announce(announcement("finn", part="0/2"))
    registry.announce(announcement("gina", part="0/3"))
    manager.refresh()
    assert [client.client_id for client in manager.connected()] == ["anna", "carl", "gina"]
    manager.close()
    registry.announce(announcement("dora"))
    # When the manager looks who is there again and again
    for _ in range(3):
        manager.refresh()
    # Then each of them was told its reason once, and who takes part was told nothing
    reasons = {
        "anna": "it is too small",
        "bert": "it has the workload digits, the run trains tests.support:Pull",
        "emil": "its models and updates are in file:3f9c01aa (CLIENT_BLOBS), the run's in broker (--blobs): both have "
        "to name the same",
        "finn": "another run granted it one of 2 parts of the data, this one has 3: it takes one of these when no "
        "run of that many is on; CLIENT_PART would give it one of its own",
        "dora": "it came after the run had begun, and the run takes in no more (--accept closed)",
    }
    assert registry.passed_over == list(reasons.items())
    # And one that is started anew is told again
    registry.announce(announcement("bert", "second", workload="digits"))
    manager.refresh()
    assert registry.passed_over[5:] == [("bert", reasons["bert"])]


def test_a_client_counts_as_connected_when_it_has_told_what_the_selector_needs() -> None:
    # Given a run whose selector goes by labels, and clients of which one tells all, and one has heard of no run yet
    def misfit(client: ConnectedClient) -> str:
        return "" if client.announcement.labels else "it has no labels"

    registry = MemoryRegistry()
    manager = ClientManager(registry.present, misfit=misfit, tell=registry.say_passed_over, needs=("labels",))
    whole = announcement("bert", labels={"7": 5})
    registry.announce(announcement("anna", labels={"3": 5}))
    registry.announce(whole.telling(()))
    manager.refresh()
    # Then the second is waited for, and isn't taken for one that doesn't fit; nor is it gone
    assert [client.client_id for client in manager.connected()] == ["anna"]
    assert registry.passed_over == []
    assert set(manager.incarnations()) == {"anna", "bert"}
    # When it tells, then it is there; one whose site forbids it is told that it doesn't fit
    registry.announce(whole.telling(("labels",)))
    registry.announce(announcement("carl", labels={}).telling(("labels",)))
    manager.refresh()
    assert {client.client_id: client.announcement.labels for client in manager.connected()} == {
        "anna": {"3": 5},
        "bert": {"7": 5},
        "carl": {},
    }
    assert registry.passed_over == [("carl", "it has no labels")]


def test_many_clients_that_are_passed_over_for_one_reason_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    # Given five clients of another workload, and one of a third, whose name has a line's end in it
    registry = MemoryRegistry()
    for client_id in ("anna", "bert", "carl", "dora", "emil"):
        registry.announce(announcement(client_id, workload="digits"))
    registry.announce(announcement("fred", workload="a\nb"))
    # When the manager looks who is there, then the log has a line a reason
    ClientManager(registry.present, workload="mnist").refresh()
    assert [record.getMessage() for record in caplog.records] == [
        "5 clients (anna, bert, carl and 2 more) passed over: it has the workload digits, the run trains mnist",
        "client fred passed over: it has the workload a\\nb, the run trains mnist",
    ]


class Membership(RuleBasedStateMachine):
    """Clients come and go; beside the manager, a list keeps who has been there for how long."""

    @initialize()
    def start(self) -> None:
        self.registry = MemoryRegistry()
        self.manager = ClientManager(self.registry.present)
        self.there: dict[str, str] = {}
        """Client id -> incarnation, of those who are there."""
        self.leaving: set[str] = set()
        self.order: list[str] = []
        """Who was there at the last look, those who were first seen first."""
        self.seen: dict[str, str] = {}
        self.seen_leaving: set[str] = set()
        self.incarnations = itertools.count(1)

    @rule(client_id=CLIENTS)
    def join(self, client_id: str) -> None:
        self.there[client_id] = str(next(self.incarnations))
        self.leaving.discard(client_id)
        self.registry.announce(announcement(client_id, self.there[client_id]))

    @rule(client_id=CLIENTS)
    def leave(self, client_id: str) -> None:
        """Let its announcement expire."""
        self.registry.announcements.pop(client_id, None)
        self.there.pop(client_id, None)
        self.leaving.discard(client_id)

    @rule(client_id=CLIENTS)
    def end_a_former_incarnation(self, client_id: str) -> None:
        self.registry.announce_leaving(announcement(client_id, f"before {self.there.get(client_id)}"))

    @rule(client_id=CLIENTS)
    def begin_to_leave(self, client_id: str) -> None:
        if client_id in self.there:
            self.leaving.add(client_id)
            self.registry.announce_leaving(announcement(client_id, self.there[client_id]))

    @rule()
    def look(self) -> None:
        expected_came = sorted(self.there.keys() - set(self.order))
        self.manager.refresh()
        self.order = [client_id for client_id in self.order if client_id in self.there] + expected_came
        self.seen, self.seen_leaving = dict(self.there), set(self.leaving)

    @invariant()
    def those_who_take_orders_are_known_in_the_order_in_which_they_came(self) -> None:
        connected = [client.client_id for client in self.manager.connected()]
        assert connected == [client_id for client_id in self.order if client_id not in self.seen_leaving]

    @invariant()
    def the_incarnations_are_those_of_the_last_look(self) -> None:
        assert self.manager.incarnations() == self.seen

    @rule(
        select=st.sampled_from(["connected", "random"]),
        num=st.integers(1, 6),
        seed=st.integers(0, 9),
    )
    def sample(self, select: str, num: int, seed: int) -> None:
        connected = [client_id for client_id in self.order if client_id not in self.seen_leaving]

        def cohort() -> list[str]:
            rng = np.random.default_rng(seed)
            return self.manager.sample(load_selector(select), 1, rng, num=num)

        if not connected:
            with pytest.raises(TooFewClientsError):
                cohort()
            return
        chosen = cohort()
        wanted = min(num, len(connected))
        assert len(chosen) == len(set(chosen)) == wanted
        assert set(chosen) <= set(connected)
        assert chosen == sorted(chosen) == cohort()
        if select == "connected":
            assert set(chosen) == set(connected[:wanted])


TestMembership = Membership.TestCase
TestMembership.settings = settings(deadline=None, derandomize=True, max_examples=60, stateful_step_count=30)


def manager_of(*client_ids: str) -> ClientManager:
    """A manager to which clients came one after the other."""
    registry = MemoryRegistry()
    manager = ClientManager(registry.present)
    for client_id in client_ids:
        registry.announce(announcement(client_id))
        manager.refresh()
    return manager


def sample(manager: ClientManager, selector: Any, num: int = 100) -> list[str]:
    return manager.sample(selector, 1, np.random.default_rng(0), num=num)


def test_a_users_own_selector_sees_order_announcements_and_what_is_wanted() -> None:
    # Given clients, and a function that writes down what it gets
    manager = manager_of("carl", "anna", "bert")
    seen: list[tuple[list[str], list[int], int, int]] = []

    def own(clients: Sequence[ConnectedClient], selection: Selection) -> list[str]:
        examples = [client.announcement.num_examples for client in clients]
        seen.append(([c.client_id for c in clients], examples, selection.round_number, selection.num_wanted))
        return ["bert", "anna"]

    # When a cohort is sampled for round 4
    cohort = manager.sample(own, 4, np.random.default_rng(0), num=2)
    # Then it may be of another size than was wanted, and is sorted
    assert cohort == ["anna", "bert"]
    assert seen == [(["carl", "anna", "bert"], [5, 5, 5], 4, 2)]


@pytest.mark.parametrize(
    "result",
    [
        [],
        (),
        ["stranger"],
        ["anna", "stranger"],
        ["anna", "anna"],
        [None],
        ["anna", 1, "stranger"],
        None,
        7,
        [["anna"]],
    ],
    ids=repr,
)
def test_a_selector_that_returns_no_subset_is_told_so(result: object) -> None:
    # Given a selector of the user's that returns something else than a subset of the connected clients
    def own(_clients: Sequence[ConnectedClient], _selection: Selection) -> Any:
        return result

    # When a cohort is sampled, then the error is the one for that
    with pytest.raises(SelectionError, match="a non-empty subset is needed"):
        sample(manager_of("anna", "bert"), own)


def test_the_message_names_the_round_and_the_stranger() -> None:
    # Given a selector that names somebody who isn't there, when a cohort is sampled, then the message says who
    with pytest.raises(SelectionError, match=r"^round 1: the selector returned unknown \['zoe'\]; "):
        sample(manager_of("anna"), lambda *_: ["zoe", "anna"])


def test_nobody_can_be_sampled_where_nobody_is() -> None:
    # Given no clients, when a cohort is sampled, then that is an error and no empty list
    with pytest.raises(TooFewClientsError) as caught:
        sample(manager_of(), load_selector("random"))
    assert (caught.value.num_connected, caught.value.num_needed) == (0, 1)


class World:
    """A clock that goes on only by pausing, and clients that come at given times."""

    def __init__(self, arrivals: dict[float, str]) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self.registry = MemoryRegistry()
        self.arrivals = {self.now + after: client_id for after, client_id in arrivals.items()}
        self.manager = ClientManager(self.registry.present, lambda: self.now)

    def pause(self, step: float) -> Callable[[float], None]:
        def pause(left: float) -> None:
            self.pauses.append(left)
            self.now += min(step, left)
            for at, client_id in self.arrivals.items():
                if at <= self.now:
                    self.registry.announce(announcement(client_id))

        return pause


def test_waiting_ends_as_soon_as_there_are_enough() -> None:
    # Given clients that come after 1.5 and 3 seconds, and one more at 9
    world = World({1.5: "bert", 3.0: "anna", 9.0: "carl"})
    # When two are waited for, looking every second
    clients = world.manager.wait_for(2, 10.0, world.pause(1.0))
    # Then it ends at three seconds, with the time that was left at each pause
    assert [client.client_id for client in clients] == ["bert", "anna"]
    assert world.now == 1003.0
    assert world.pauses == [10.0, 9.0, 8.0]


def test_nothing_is_waited_for_if_enough_are_there() -> None:
    # Given a client that is there already, and no time at all
    world = World({})
    world.registry.announce(announcement("anna"))
    # When it is waited for, then there is no pause, and all who are there are returned
    assert len(world.manager.wait_for(1, 0.0, world.pause(1.0))) == 1
    assert world.pauses == []


def test_too_few_clients_are_told_with_the_numbers() -> None:
    # Given one client of three
    world = World({2.0: "anna"})
    # When three are waited for
    with pytest.raises(TooFewClientsError) as caught:
        world.manager.wait_for(3, 5.0, world.pause(1.5))
    # Then the message says how many came in which time, after pauses of 1.5 s and one of the rest
    assert str(caught.value).startswith("1 of 3 clients connected within 5 s (--wait-timeout): ")
    assert world.pauses == [5.0, 3.5, 2.0, 0.5]
    assert caught.value.exit_code == 1


def test_a_client_that_is_leaving_doesnt_count_as_one_to_wait_for() -> None:
    # Given a client that is leaving, when it is waited for, then it doesn't count
    world = World({})
    world.registry.announce(announcement("anna", leaving=True))
    with pytest.raises(TooFewClientsError, match="0 of 1 clients connected within 2 s"):
        world.manager.wait_for(1, 2.0, world.pause(1.0))


@pytest.mark.parametrize(("count", "is_seen"), [(FEW, True), (FEW + 1, False)])
def test_who_has_just_left_is_seen_where_clients_are_few(count: int, is_seen: bool) -> None:
    # Given clients that have just been looked at
    registry, now = MemoryRegistry(), [0.0]
    for number in range(count):
        registry.announce(announcement(f"client-{number}", "1"))
    manager = ClientManager(registry.present, lambda: now[0])
    manager.refresh()
    # When one leaves, then it doesn't count, or not until the look is old
    registry.announce_leaving(announcement("client-0", "1"))
    assert len(manager.wait_for(1, 5.0, lambda _: None)) == count - is_seen
    now[0] += 2 * FRESH_S
    assert len(manager.wait_for(1, 5.0, lambda _: None)) == count - 1


def test_orders_go_to_the_queue_that_a_client_announced_last() -> None:
    # Given a client with a queue of its own, and one that shares one with others
    registry = MemoryRegistry()
    manager = ClientManager(registry.present)
    registry.announce(announcement("anna"))
    registry.announce(announcement("ward-1", shared_queue="clients.ward.9"))
    manager.refresh()
    # When one asks, then it is that, and for one that was never seen its own
    assert [manager.queue(client_id) for client_id in ("anna", "ward-1", "zoe")] == [
        "client.anna",
        "clients.ward.9",
        "client.zoe",
    ]
    # And for one that vanished what it was, until it is back with another
    del registry.announcements["ward-1"]
    manager.refresh()
    assert manager.queue("ward-1") == "clients.ward.9"
    registry.announce(announcement("ward-1"))
    manager.refresh()
    assert manager.queue("ward-1") == "client.ward-1"


def test_after_an_outage_each_client_has_the_time_of_its_own_heartbeat_to_come_back() -> None:
    # Given two clients, one of which says that it gives a sign of life once an hour, and a broker that is unreachable
    now, registry = [0.0], MemoryRegistry()
    registry.announce(announcement("anna", heartbeat_s=2.0))
    registry.announce(announcement("eve", heartbeat_s=3600.0))
    is_away = [False]

    def present() -> dict[str, Announcement]:
        if is_away[0]:
            raise BrokerUnreachableError("the broker is away")
        return registry.present()

    manager = ClientManager(present, lambda: now[0])
    manager.refresh()
    is_away[0] = True
    manager.refresh()
    # When it is back long after the last look, and neither client has announced itself
    is_away[0] = False
    registry.announcements.clear()
    there = []
    for now[0] in (100.0, 105.9, 106.1, 10_899.0, 10_901.0):
        manager.refresh()
        there.append(sorted(manager.incarnations()))
    # Then each counts as gone three heartbeats of its own after that
    assert there == [["anna", "eve"], ["anna", "eve"], ["eve"], ["eve"], []]


def test_ten_thousand_strangers_fill_no_log_and_take_no_part(caplog: pytest.LogCaptureFixture) -> None:
    # Given a client, and ten thousand others with a workload each that the run doesn't train
    registry = MemoryRegistry()
    registry.announce(announcement("anna"))
    for index in range(10_000):
        registry.announce(announcement(f"s{index}", workload=f"evil{index}"))
    manager = ClientManager(registry.present, lambda: 0.0, announcement("anna").workload, tell=registry.say_passed_over)
    # When one looks, twice
    for _ in range(2):
        manager.refresh()
    # Then the one is there, all others were told why they aren't, and the log has a few lines of them
    assert [client.client_id for client in manager.connected()] == ["anna"]
    assert len(registry.passed_over) == 10_000
    assert len(caplog.messages) == MAX_TOLD + 1
    assert caplog.messages[-1] == "9980 more are passed over, for other reasons"
