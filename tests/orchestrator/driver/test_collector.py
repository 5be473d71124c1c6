"""The collector on a clock of the test's own: what it does when, where real time would be minutes."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from functools import partial

import pytest
from celery import Celery

from orchestrator.clients.manager import ClientManager
from orchestrator.driver.collector import RETRY_S, SILENT, Collector, Filled
from orchestrator.driver.slots import Slot, Slots
from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.sending import Call
from orchestrator.transport.transport import Lost, RunServices
from orchestrator.transport.uploads import Uploads
from tasks.blobs.blob import CHUNK_BYTES, chunk_name
from tasks.blobs.chunks import MemoryChunks
from tasks.broker.turns import GO, STOP
from tasks.messages import READY, Order, Status, UpdateOrder, encode
from tasks.orders.survey import SurveyOrder
from tasks.scope import ClientScope
from tests.support import MemoryRegistry, announcement, blob_ref, survey_order, surveyed, train_order, trained


class Scene:
    """Clients that do what a script says, on a clock that goes on only while the collector waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lost: dict[float, Lost] = {}
        """What is lost at the first look after a moment, by that moment."""
        self.sent: list[tuple[float, str]] = []
        self.script: list[tuple[float, Callable[[], None]]] = []
        self.results: dict[str, bytes] = {}
        self.words: list[tuple[float, str, bytes]] = []
        self.on_turn: Callable[[Order], None] = lambda _order: None
        self.chunks = MemoryChunks()
        registry = MemoryRegistry()
        for client_id in ("anna", "bert", "carl"):
            registry.announce(announcement(client_id))
        services = RunServices(
            transport=Scripted(self),
            present=registry.present,
            tell=registry.say_passed_over,
            blobs=self.chunks,
            broker_time=lambda: self.now,
            poll=lambda: False,
            tidy=lambda: None,
        )
        manager = ClientManager(registry.present, lambda: self.now)
        manager.refresh()
        self.collector = Collector(services, manager, self.look, lambda: self.now)

    def look(self) -> Lost:
        due = min((when for when in self.lost if when <= self.now), default=None)
        return Lost.NOTHING if due is None else self.lost.pop(due)

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Have something happen then."""
        self.script.append((when, act))
        self.script.sort(key=lambda entry: entry[0])

    def ready(self, order: Order) -> None:
        self.results[order.order_id] = json.dumps({"status": READY, "task_id": order.order_id}).encode()

    def response(self, order: Order) -> None:
        response = surveyed(order) if isinstance(order, SurveyOrder) else trained(order)
        self.results[order.order_id] = json.dumps({"status": "SUCCESS", "result": encode(response)}).encode()

    def told(self, word: bytes) -> list[tuple[float, str]]:
        return [(when, client_id) for when, client_id, said in self.words if said == word]


class Scripted(EagerTransport):
    """Notes what is sent, and while it is waited for has happen what a scene's script says."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(Celery(set_as_current=False, task_always_eager=True))
        self._scene = scene

    def publish(self, calls: Sequence[Call]) -> None:
        self._scene.sent += [(self._scene.now, call.task_id.split("/")[1]) for call in calls]

    def expect_more(self, task_id: str) -> None:
        del self._scene.results[task_id]

    def give_turn(self, order: Order, word: bytes = GO) -> None:
        self._scene.words.append((self._scene.now, order.client_id, word))
        self._scene.on_turn(order)

    def forget(self, task_ids: Collection[str], chords: object = ()) -> None:
        for task_id in task_ids:
            self._scene.results.pop(task_id, None)

    def collect(self, task_ids: Collection[str], timeout_s: float, max_bytes: int = 0) -> dict[str, bytes | str]:
        scene, until = self._scene, self._scene.now + timeout_s
        if scene.script and scene.script[0][0] <= until:
            scene.now = max(scene.now, scene.script[0][0])
            scene.script.pop(0)[1]()
        else:
            scene.now = until
        most = max_bytes + 1
        return {task_id: scene.results[task_id][:most] for task_id in task_ids if task_id in scene.results}


def collect(
    scene: Scene,
    slots: Slots,
    timeout_s: float,
    uploads: Uploads | None = None,
    fill: Callable[[Slot], str | None] = lambda _slot: None,
    lose: Callable[[Lost], None] = lambda _lost: None,
) -> None:
    """Fill all slots, as an exchange does: ``fill`` returns the task that takes an update in."""
    uploads = uploads or Uploads()
    for event in scene.collector.collect(slots, uploads, timeout_s):
        if isinstance(event, Filled):
            for response in event.answers:
                part_id = fill(slots[response.order_id])
                awaited = part_id if response.update is not None else None
                uploads.answered(response.order_id, awaited, scene.now)
        elif isinstance(event, Lost):
            lose(event)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def orders(make: Callable[..., UpdateOrder] = train_order) -> list[UpdateOrder]:
    return [
        make(client_id, waits_for_turn=True, timeout_s=3600.0, parameters=blob_ref(size_bytes=400_000_000))
        for client_id in ("anna", "bert", "carl")
    ]


def statuses(slots: Slots) -> dict[str, tuple[Status, str]]:
    return {response.client_id: (response.status, response.reason) for _, response in slots.filled()}


def test_a_turn_is_given_when_the_line_before_it_has_become_slow(scene: Scene) -> None:
    # Given two clients that are ready, and room for one, beside another on a slow line
    anna, bert, _ = orders()
    slots = Slots([anna, bert], {"anna": "first", "bert": "first"})
    scene.at(0.1, lambda: scene.ready(anna))
    scene.at(0.1, lambda: scene.ready(bert))
    # When the first has not sent its update for half a second
    scene.at(4.0, lambda: scene.response(anna))
    scene.at(4.0, lambda: scene.response(bert))
    collect(scene, slots, 100.0, uploads=Uploads(1, most=2, slow_s=0.5))
    # Then it is the other's turn at that moment, not at the next second
    assert scene.told(GO) == [(0.1, "anna"), (pytest.approx(0.6), "bert")]


@pytest.mark.parametrize(("make", "status"), [(train_order, Status.TRAINED), (survey_order, Status.SURVEYED)])
def test_a_client_that_sends_nothing_in_its_turn_is_given_up_while_others_wait(
    scene: Scene, make: Callable[..., UpdateOrder], status: Status
) -> None:
    # Given three clients with room for one, of which the first sends a chunk and no more, and the second nothing
    anna, bert, carl = orders(make)
    slots = Slots([anna, bert, carl], dict.fromkeys(("anna", "bert", "carl"), "first"))
    name = chunk_name(anna.update_blob, 0)
    for order in (anna, bert, carl):
        scene.at(1.0, partial(scene.ready, order))
    scene.at(5.0, lambda: scene.chunks.chunks.update({name: bytes(CHUNK_BYTES)}))
    scene.at(182.0, lambda: scene.response(carl))
    scene.at(183.0, lambda: scene.response(anna))
    seen = []
    scene.at(150.0, lambda: seen.append(name in scene.chunks.chunks))

    # When both have had their time
    collect(scene, slots, 3600.0, uploads=Uploads(1, patience_s=60.0))

    # Then first the one, which was given as long again, and then the other is lost, and the third has come
    assert statuses(slots) == {
        "anna": (Status.LOST, SILENT),
        "bert": (Status.LOST, SILENT),
        "carl": (status, ""),
    }
    assert scene.told(GO) == [(1.0, "anna"), (121.0, "bert"), (181.0, "carl")]
    assert scene.told(STOP) == [(121.0, "anna"), (181.0, "bert")]
    # And what the first had sent is gone as soon as it was given up
    assert seen == [False]


def test_who_was_ready_by_the_deadline_may_wait_for_its_turn_a_while_longer(scene: Scene) -> None:
    # Given room for one update, and two clients of three that are ready before the deadline
    anna, bert, carl = orders()
    slots = Slots([anna, bert, carl], dict.fromkeys(("anna", "bert", "carl"), "first"))
    scene.at(1.0, lambda: scene.ready(anna))
    scene.at(2.0, lambda: scene.ready(bert))
    # When the one that has its turn takes a minute longer than the deadline, and the other sends in its turn at once
    scene.at(70.0, lambda: scene.response(anna))
    scene.on_turn = lambda order: scene.at(scene.now, lambda: scene.response(order)) if order is bert else None
    filled = []
    collect(scene, slots, 10.0, Uploads(1), lambda slot: filled.append((scene.now, slot.order.client_id)))
    # Then both count, and the third is lost at the deadline
    assert [client_id for _, client_id in filled] == ["carl", "anna", "bert"]
    assert filled[0][0] == pytest.approx(10.0, abs=1.0)
    assert [status for status, _ in statuses(slots).values()] == [Status.TRAINED, Status.TRAINED, Status.LOST]


def test_what_a_client_that_was_given_up_sends_after_all_is_removed_while_the_round_is_open(scene: Scene) -> None:
    # Given a client that was given up in its turn
    anna, bert, carl = orders()
    slots = Slots([anna, bert, carl], dict.fromkeys(("anna", "bert", "carl"), "first"))
    name = chunk_name(ClientScope("anna").update("run", 1), 0)
    scene.at(1.0, lambda: scene.ready(anna))
    scene.at(1.0, lambda: scene.ready(bert))
    # When it sends its update after all, while another still trains
    scene.at(100.0, lambda: scene.chunks.chunks.update({name: bytes(CHUNK_BYTES)}))
    scene.at(100.5, lambda: scene.response(anna))
    scene.at(101.0, lambda: scene.response(bert))
    seen = []
    scene.at(110.0, lambda: seen.append(name in scene.chunks.chunks))
    scene.at(120.0, lambda: scene.response(carl))
    collect(scene, slots, 3600.0, uploads=Uploads(1, patience_s=60.0))
    # Then it is late, and nothing of it is left
    assert [response.client_id for response in scene.collector.late.pop()] == ["anna"]
    assert seen == [False]


def test_a_task_that_takes_an_update_in_and_is_lost_is_sent_again_each_time_after_twice_as_long(scene: Scene) -> None:
    # Given room for one update, and an own worker, not supervised here, that loses the task which takes it in
    anna, bert, _ = orders()
    slots = Slots([anna, bert], {"anna": "first", "bert": "first"})
    uploads, refilled = Uploads(1), list[float]()
    scene.at(1.0, lambda: scene.ready(anna))
    scene.at(1.0, lambda: scene.ready(bert))
    scene.at(2.0, lambda: scene.response(anna))

    def fill(slot: Slot) -> str:
        return f"{slot.order.client_id}/0"

    def refill(lost: Lost) -> None:
        assert lost is Lost.OWN_WORK
        refilled.append(scene.now)
        part_id = f"anna/{len(refilled)}"
        uploads.renew({part_id: [anna.order_id]}, scene.now)
        if len(refilled) == 2:  # the third time it is done
            scene.at(scene.now + 1.0, lambda: scene.results.update({part_id: b"{}"}))

    scene.on_turn = lambda order: scene.at(scene.now, lambda: scene.response(order)) if order is bert else None
    collect(scene, slots, 3600.0, uploads, fill, refill)

    # Then it is sent again after five minutes, and after ten more, and the other gets its turn
    assert refilled == [pytest.approx(2 + RETRY_S, abs=1.5), pytest.approx(2 + 3 * RETRY_S, abs=3)]
    assert [client_id for _, client_id in scene.told(GO)] == ["anna", "bert"]
    assert scene.told(GO)[1][0] == pytest.approx(refilled[-1] + 1.0)
    assert [status for status, _ in statuses(slots).values()] == [Status.TRAINED] * 2


def test_an_order_that_a_former_start_has_sent_and_that_was_answered_is_not_sent_again(scene: Scene) -> None:
    # Given orders that are held back from a worker of one process; a former start sent the first, and it is answered
    anna, bert, carl = orders()
    slots, uploads = Slots([anna, bert, carl], dict.fromkeys(("anna", "bert", "carl"), "first")), Uploads(2, 2)
    for order in (anna, bert, carl):
        uploads.hold(order.order_id, "shared", 1)
    scene.response(anna)
    scene.at(2.0, lambda: scene.response(bert))
    scene.at(4.0, lambda: scene.response(carl))

    # When each update takes a second to be taken in
    def fill(slot: Slot) -> str:
        part_id = f"part-{slot.order.client_id}"
        scene.at(scene.now + 1.0, lambda: scene.results.update({part_id: b"{}"}))
        return part_id

    collect(scene, slots, 3600.0, uploads, fill)

    # Then the others are sent one after the other, and each counts
    assert [client_id for _, client_id in scene.sent] == ["bert", "carl"]
    assert [status for status, _ in statuses(slots).values()] == [Status.TRAINED] * 3


def test_orders_and_turns_are_sent_again_when_the_broker_was_emptied(scene: Scene) -> None:
    # Given a client that has its turn, another that waits for its own, and a third that trains
    anna, bert, carl = orders()
    slots = Slots([anna, bert, carl], dict.fromkeys(("anna", "bert", "carl"), "first"))
    done = []
    scene.at(0.5, lambda: scene.ready(anna))
    scene.at(0.6, lambda: scene.ready(bert))
    # When the broker was emptied
    scene.lost[10.0] = Lost.ALL
    for order in (anna, bert, carl):
        scene.at(20.0, partial(scene.chunks.chunks.update, {chunk_name(order.update_blob, 0): b"update"}))
        scene.at(20.0, partial(scene.response, order))
    collect(scene, slots, 100.0, Uploads(1), lose=lambda lost: done.append((lost, list(scene.sent))))
    # Then that is told of before all orders are sent again: the model is put there, what was filled is filled again
    assert done == [(Lost.ALL, [])]
    assert scene.sent == [(10.0, "anna"), (10.0, "bert"), (10.0, "carl")]
    # And whoever has its turn is told so again
    assert scene.told(GO)[:2] == [(0.5, "anna"), (10.0, "anna")]
    assert {status for status, _ in statuses(slots).values()} == {Status.TRAINED}


def test_an_update_that_was_on_its_way_when_the_broker_was_emptied_is_asked_for_again(scene: Scene) -> None:
    # Given a client whose update is gone when its answer comes, after the broker was emptied
    anna, _, _ = orders()
    slots = Slots([anna], {"anna": "first"})
    scene.lost[10.0] = Lost.ALL
    scene.at(12.0, lambda: scene.response(anna))
    filled_at = []

    # When it is asked again and sends its update
    def send_update() -> None:
        scene.chunks.chunks[chunk_name(anna.update_blob, 0)] = b"update"
        scene.response(anna)

    scene.at(15.0, send_update)
    collect(scene, slots, 100.0, fill=lambda _slot: filled_at.append(scene.now))
    # Then its slot is filled by that
    assert scene.sent == [(10.0, "anna"), (12.0, "anna")]
    assert filled_at == [15.0]


def test_who_never_sends_the_update_it_tells_of_is_asked_for_it_three_times(scene: Scene) -> None:
    # Given a client that tells of an update that isn't there, again and again, after the broker was emptied
    anna, _, _ = orders()
    slots = Slots([anna], {"anna": "first"})
    scene.lost[10.0] = Lost.ALL
    for second in range(12, 20):
        scene.at(float(second), lambda: scene.response(anna))
    filled_at = []
    # When its answers are collected
    collect(scene, slots, 100.0, fill=lambda _slot: filled_at.append(scene.now))
    # Then the fourth fills its slot: to look into it is for those who take it in
    assert filled_at == [15.0]
    assert len(scene.sent) == 4


def test_orders_are_asked_for_what_answers_them_and_nothing_is_left(scene: Scene) -> None:
    # Given two clients that are asked, one of which answers, when the broker has been emptied once
    anna, bert, _ = orders()
    restored = []
    scene.lost[10.0] = Lost.ALL
    scene.at(12.0, lambda: scene.chunks.chunks.update({chunk_name(anna.update_blob, 0): b"update"}))
    scene.at(12.0, lambda: scene.response(anna))
    # When the time is over
    responses = scene.collector.ask([bert, anna], 100.0, lambda: restored.append(scene.now))
    # Then there is an answer to each in their order, what they refer to was put there again, and no result is kept
    assert [(response.client_id, response.status) for response in responses] == [
        ("bert", Status.LOST),
        ("anna", Status.TRAINED),
    ]
    assert restored == [10.0]
    assert scene.sent == [(0.0, "bert"), (0.0, "anna"), (10.0, "bert"), (10.0, "anna")]
    assert scene.results == {}


def test_of_an_answer_no_more_is_fetched_than_says_that_it_is_too_long(scene: Scene) -> None:
    # Given a client that answers with a million bytes
    [anna, *_] = orders()
    scene.at(0.1, lambda: scene.results.update({anna.order_id: b"x" * 10**6}))
    # When it is waited for, then a quarter of them and one were read
    slots = Slots([anna], {"anna": "first"})
    collect(scene, slots, 60.0)
    assert statuses(slots)["anna"] == (Status.REJECTED, "the answer has 262145 bytes: 262144 are allowed")
