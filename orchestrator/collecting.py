"""Collecting answers: the one loop that waits for clients; when the deadline has passed every slot is filled."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.answers import MAX_ANSWER_BYTES, read_answer, says_ready
from orchestrator.client_manager import ClientManager
from orchestrator.slots import MAX_SENT, Slot, Slots
from orchestrator.uploads import Uploads, bytes_sent, discard_updates
from orchestrator.wire import TICK_S, Lost, Wire
from tasks.messages import Answer, Order, UpdateOrder
from tasks.turns import STOP

logger = logging.getLogger(__name__)

MOST_LOOKING = 0.05
"""Share of the time that looks at all clients may take: with ten thousand of them one takes a while."""
GRACE_S = 1.5
"""Seconds that an answer may take on its way, beyond what the order allows for the work; a process that is stuck is
ended within them, and free for the next order."""

MAX_OUTSTANDING = 1000
"""Orders whose late answers are looked out for."""
RETRY_S = 300.0
"""Seconds after which a task of the orchestrator's own is taken for lost with a worker that isn't supervised here, and
sent again; each time twice as many. One that was only slow is done twice then, which changes nothing."""
SILENT = "nothing more of its update came in its turn, while others waited for theirs"

Fill = Callable[[Slot, Answer], str | None]


@dataclass(frozen=True, slots=True)
class _Collection:
    """What is being collected: see :meth:`Collector.collect`."""

    slots: Slots
    fill: Fill
    uploads: Uploads
    out: dict[str, Order] = field(default_factory=dict)
    """The orders that are out, by their ids: those of open slots but for the ones that are held."""

    unsure: dict[str, int] = field(default_factory=dict)
    """Orders that were out when the broker was emptied -> how often they may be sent again for want of an update."""

    def note_out(self) -> None:
        """Look anew which orders are out."""
        orders = [slot.order for slot in self.slots.open()]
        self.out.clear()
        self.out.update({order.order_id: order for order in orders if not self.uploads.is_held(order.order_id)})


class Collector:
    """Waits for the answers to orders, while it looks after clients and own workers.

    Args:
        wire: How clients are reached.
        manager: Who is connected.
        tick: Called between two waits; returns what was lost since the last.
        clock: Seconds that only go up.
    """

    def __init__(
        self,
        wire: Wire,
        manager: ClientManager,
        tick: Callable[[], Lost],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = wire
        self._manager = manager
        self._tick = tick
        self._clock = clock
        self._next_tick = -math.inf
        self._outstanding: dict[str, Order] = {}
        self._stopped: set[str] = set()
        self._late: list[Answer] = []
        self._over: deque[str] = deque(maxlen=MAX_OUTSTANDING)

    def expect_late(self, orders: Iterable[Order]) -> None:
        """Look out for answers to orders whose slots were filled without; only the newest ``MAX_OUTSTANDING``."""
        self._outstanding.update({order.order_id: order for order in orders})
        given_up = list(self._outstanding)[:-MAX_OUTSTANDING]
        for order_id in given_up:
            del self._outstanding[order_id]
        self._stopped.intersection_update(self._outstanding)
        self._wire.courier.forget(given_up)

    def over(self, order_ids: Iterable[str]) -> list[str]:
        """Note that the round of these orders is over, and return them and others that lately were.

        A client's worker that ended just as it took an order gets it again when it is started. What it stores then
        nobody waits for: it is to be forgotten with the next round that closes.
        """
        self._over.extend(order_ids)
        return [order_id for order_id in self._over if order_id not in self._outstanding]

    def late(self) -> list[Answer]:
        """Return the answers that have come late since this was last asked."""
        late, self._late = self._late, []
        return late

    def _read(self, raw: bytes | str, order: Order) -> Answer:
        return read_answer(raw, order, self._manager.num_examples(order.client_id))

    def _take_late(self, raw: bytes | str, order: Order) -> None:
        if says_ready(raw, order):
            self._wire.courier.expect_more(order.order_id)
            self._stop(order)
            return
        self._stopped.discard(order.order_id)
        del self._outstanding[order.order_id]
        answer = read_answer(raw, order)
        logger.warning("client %s: its answer to %s came late", answer.client_id, answer.order_id)
        self._late.append(answer)
        self._wire.courier.forget([order.order_id])
        if isinstance(order, UpdateOrder):
            self._wire.courier.take_turns_away([order])
        self._discard_update(order)

    def _stop(self, order: Order) -> None:
        """Tell a client, once, that its update isn't wanted any more: one that has vanished is never heard of again."""
        if order.order_id not in self._stopped:
            self._stopped.add(order.order_id)
            self._wire.courier.give_turn(order, STOP)

    def send(self, orders: Sequence[Order]) -> None:
        """Send orders to the queues that their clients announced."""
        self._wire.courier.send(orders, self._manager.queue)

    def ask(
        self, orders: Sequence[Order], timeout_s: float, restore: Callable[[], object] = lambda: None
    ) -> list[Answer]:
        """Send orders and return what answers them, or stands in for an answer, in their order.

        Args:
            orders: The orders.
            timeout_s: Seconds to wait at the most.
            restore: Called when the broker was emptied: puts what the orders refer to there again.
        """
        slots = Slots(orders, self._manager.incarnations())
        self.send(orders)
        self.collect(slots, timeout_s, restore=restore)
        self._wire.courier.forget([order.order_id for order in orders])
        return [answer for _, answer in slots.filled()]

    def collect(
        self,
        slots: Slots,
        timeout_s: float,
        fill: Fill = lambda _slot, _answer: None,
        refill: Callable[[], None] = lambda: None,
        admit: Callable[[float], None] = lambda _left_s: None,
        uploads: Uploads | None = None,
        restore: Callable[[], object] = lambda: None,
    ) -> None:
        """Fill all of ``slots``.

        Args:
            slots: The slots; their orders are out, but for those that are held back.
            timeout_s: Seconds after which open slots are filled as lost.
            fill: Called once for each slot, with what fills it; returns the task that takes the update in, if it is to
                be known when that is done.
            refill: Called when what was done with filled slots is lost and must be done again.
            admit: Called with the seconds that are left, to add slots for clients that have come.
            uploads: Says which orders are held back and whose turn it is to send; without it there are none, and all
                may at once.
            restore: Called when the broker was emptied: puts what orders refer to there again, and opens the slots
                anew whose updates are gone. Their orders, and those of all open slots, are sent again then.
        """
        collection = _Collection(slots, fill, uploads or Uploads())
        deadline, retry_s = self._clock() + timeout_s, RETRY_S
        self._read_held(collection)
        while slots.has_open():
            now = self._clock()
            is_due, someone_vanished = self._is_tick_due(now), False
            if is_due:
                is_overdue = collection.uploads.oldest_s(now) >= retry_s
                lost = self._look()
                if lost is Lost.ALL:
                    restore()
                if lost is not Lost.NOTHING or is_overdue:
                    refill()
                    retry_s *= 1 + is_overdue
                if lost is Lost.ALL:
                    self._send_again(collection)
                admit(deadline - now)
                # What a client that has just vanished may have stored is read before its slot is given up.
                someone_vanished = bool(slots.lost(self._manager.incarnations()))
                collection.note_out()
            self._give_up_silent(collection)
            self._send_held(collection)
            self._give_turns(collection)
            wake_up = min(
                self._next_tick, collection.uploads.next_change(now), deadline if now < deadline else math.inf
            )
            self._read_answers(collection, 0.0 if someone_vanished else max(0.0, wake_up - self._clock()))
            if is_due:
                self._look_after(collection)
            if self._clock() >= deadline:
                self._close_overdue(collection, self._clock() - deadline)

    def _is_tick_due(self, now: float) -> bool:
        """Say whether it is time to look after clients and own workers, and note that it is done."""
        is_due = now >= self._next_tick
        if is_due:
            self._next_tick = now + TICK_S
        return is_due

    def _look(self) -> Lost:
        """Look after clients and own workers, the next time after a while in which that took no time to speak of."""
        began = self._clock()
        lost = self._tick()
        self._next_tick = max(self._next_tick, began + (self._clock() - began) / MOST_LOOKING)
        return lost

    def _read_held(self, collection: _Collection) -> None:
        """Read what was answered to orders that are held: in a round that is taken up again they may have been sent."""
        held = [slot.order for slot in collection.slots.open() if collection.uploads.is_held(slot.order.order_id)]
        if held:
            collection.out.update({order.order_id: order for order in held})
            self._read_answers(collection, 0.0)
        collection.note_out()

    def _send_held(self, collection: _Collection) -> None:
        """Send orders that were held until now."""
        slots = [collection.slots.find_open(order_id) for order_id in collection.uploads.release()]
        orders = [slot.order for slot in slots if slot is not None]
        if orders:
            self.send(orders)
            collection.out.update({order.order_id: order for order in orders})

    def _send_again(self, collection: _Collection) -> None:
        """Send what a broker that was emptied has forgotten: a client that holds an order twice carries it out once."""
        collection.note_out()
        orders = list(collection.out.values())
        collection.unsure.update(dict.fromkeys(collection.out, MAX_SENT))
        self.send(orders)
        for order in orders:
            if collection.uploads.has_turn(order.order_id):
                self._wire.courier.give_turn(order)

    def _ask_again(self, collection: _Collection, slot: Slot, answer: Answer) -> bool:
        """Send an order again if its update was on its way when the broker was emptied; say whether that was done."""
        order_id, update = slot.order.order_id, answer.update
        left = collection.unsure.get(order_id, 0)
        if left == 0 or update is None or self._wire.blobs.has(update):
            return False
        collection.unsure[order_id] = left - 1
        collection.uploads.restart(order_id)
        self._wire.courier.forget([order_id])
        self.send([slot.order])
        return True

    def _give_turns(self, collection: _Collection) -> None:
        """Tell those whose turn it is."""
        for order_id in collection.uploads.give(self._clock()):
            slot = collection.slots.find_open(order_id)
            if slot is None:
                collection.uploads.restart(order_id)
            else:
                self._wire.courier.give_turn(slot.order)

    def _give_up_silent(self, collection: _Collection) -> None:
        """Give up those whose turn others wait for in vain, as nothing comes of their updates."""
        uploads, silent = collection.uploads, []
        for order_id in uploads.silent(self._clock()):
            slot = collection.slots.find_open(order_id)
            if slot is None:
                uploads.restart(order_id)
            elif not uploads.looked_at(order_id, self._bytes_sent(slot.order), self._clock()):
                silent.append((slot, slot.lost(SILENT)))
        self._give_up(collection, silent)

    def _bytes_sent(self, order: Order) -> int:
        """Return how much of the update is there that was ordered."""
        if not isinstance(order, UpdateOrder):
            return 0
        return bytes_sent(self._wire.blobs, order.update_blob, order.parameters.size_bytes)

    def _discard_update(self, order: Order) -> None:
        """Remove what is there of the update that was ordered, if one was."""
        if isinstance(order, UpdateOrder):
            discard_updates(self._wire.blobs, [order.update_blob], order.parameters.size_bytes)

    def _read_answers(self, collection: _Collection, pause_s: float) -> None:
        """Wait for answers, and fill their slots."""
        slots, uploads = collection.slots, collection.uploads
        task_ids = [*collection.out, *self._outstanding, *uploads.parts()]
        taken_in = []
        for task_id, raw in self._wire.courier.collect(task_ids, pause_s, MAX_ANSWER_BYTES).items():
            slot = slots.find_open(task_id)
            if slot is None and uploads.taken_in(task_id):
                taken_in.append(task_id)
            elif slot is None:
                self._take_late(raw, self._outstanding[task_id])
            elif says_ready(raw, slot.order):
                self._wire.courier.expect_more(task_id)
                collection.uploads.was_sent(task_id)
                uploads.wait(task_id)
                if uploads.has_turn(task_id):
                    self._wire.courier.give_turn(slot.order)  # the broker may have forgotten that it was told
            elif not self._ask_again(collection, slot, answer := self._read(raw, slot.order)):
                self._fill(collection, answer)
        if taken_in:
            self._wire.courier.forget(taken_in)

    def _look_after(self, collection: _Collection) -> None:
        """Send their orders again to clients that were started anew, and give up those that have vanished."""
        present = self._manager.incarnations()
        anew = [
            slot
            for slot in collection.slots.started_anew(present)
            if not collection.uploads.is_held(slot.order.order_id)
        ]
        for slot in anew:
            collection.uploads.restart(slot.order.order_id)
        if anew:
            orders = [slot.order for slot in anew]
            self._wire.courier.take_turns_away(orders)
            self.send(orders)
        self._give_up(collection, collection.slots.lost(present))

    def _close_overdue(self, collection: _Collection, late_s: float) -> None:
        """Give up those that are late; one that was ready in time may wait for its turn a while longer."""
        uploads = collection.uploads
        self._give_up(
            collection,
            [
                (slot, answer)
                for slot, answer in collection.slots.overdue()
                if late_s >= slot.order.turn_timeout_s or not uploads.is_ready(slot.order.order_id)
            ],
        )

    def _give_up(self, collection: _Collection, lost: Iterable[tuple[Slot, Answer]]) -> None:
        for slot, answer in lost:
            if collection.uploads.is_ready(slot.order.order_id):
                self._stop(slot.order)
            if collection.uploads.has_turn(slot.order.order_id):
                # What it has sent makes room for others' now, and what it may still send as soon as it has answered.
                self._discard_update(slot.order)
                self.expect_late([slot.order])
            self._wire.courier.withdraw(slot.order, self._manager.queue)
            self._fill(collection, answer)

    def result(
        self, task_id: str, timeout_s: float, again: Callable[[], str], restore: Callable[[], object] = lambda: None
    ) -> bytes | str | None:
        """Return the raw result of a task of the orchestrator's own, or None when ``timeout_s`` have passed.

        Args:
            task_id: The task.
            timeout_s: Seconds to wait at the most.
            again: Called when the task may be lost, with a worker that ended: sends it again and returns its new id.
                Whichever of them ends first counts, for they all return the same.
            restore: Called before that when the broker was emptied.
        """
        started = self._clock()
        next_retry = started + RETRY_S
        task_ids = [task_id]
        while (now := self._clock()) < started + timeout_s:
            lost = self._look() if self._is_tick_due(now) else Lost.NOTHING
            if lost is Lost.ALL:
                restore()
            if lost is not Lost.NOTHING or now >= next_retry:
                next_retry = now + 2 * (next_retry - started)
                task_ids.append(again())
            found = self._wire.courier.collect(
                task_ids, max(0.0, min(started + timeout_s, self._next_tick) - self._clock())
            )
            if found:
                return next(iter(found.values()))
        return None

    def _fill(self, collection: _Collection, answer: Answer) -> None:
        collection.out.pop(answer.order_id, None)
        slot = collection.slots.fill(answer.order_id, answer)
        if slot is not None:
            part_id = collection.fill(slot, answer)
            awaited = part_id if answer.update is not None else None
            collection.uploads.answered(answer.order_id, awaited, self._clock())
