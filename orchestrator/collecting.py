"""Collecting answers: the one loop that waits for clients; when the deadline has passed every slot is filled."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from orchestrator.answers import MAX_ANSWER_BYTES, read_answer
from orchestrator.client_manager import ClientManager
from orchestrator.slots import Slot, Slots
from orchestrator.taking_in import discard_update
from orchestrator.wire import TICK_S, Wire
from tasks.messages import Answer, Order, TrainOrder
from tasks.names import update_blob

logger = logging.getLogger(__name__)

GRACE_S = 1.5
"""Seconds that an answer may take on its way, beyond what the order allows for the work."""

MAX_OUTSTANDING = 1000
"""Orders whose late answers are looked out for."""
RETRY_S = 300.0
"""Seconds after which a task of the orchestrator's own is taken for lost with a worker that isn't supervised here, and
sent again; each time twice as many. One that was only slow is done twice then, which changes nothing."""

Fill = Callable[[Slot, Answer], None]


class Collector:
    """Waits for the answers to orders, while it looks after clients and own workers.

    Args:
        wire: How clients are reached.
        manager: Who is connected.
        tick: Called between two waits; True if what an own worker was doing is lost.
        clock: Seconds that only go up.
    """

    def __init__(
        self,
        wire: Wire,
        manager: ClientManager,
        tick: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = wire
        self._manager = manager
        self._tick = tick
        self._clock = clock
        self._outstanding: dict[str, Order] = {}
        self._late: list[Answer] = []
        self._over: deque[str] = deque(maxlen=MAX_OUTSTANDING)

    def expect_late(self, orders: Iterable[Order]) -> None:
        """Look out for answers to orders whose slots were filled without; only the newest ``MAX_OUTSTANDING``."""
        self._outstanding.update({order.order_id: order for order in orders})
        given_up = list(self._outstanding)[:-MAX_OUTSTANDING]
        for order_id in given_up:
            del self._outstanding[order_id]
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
        answer = read_answer(raw, order)
        logger.warning("client %s: its answer to %s came late", answer.client_id, answer.order_id)
        self._late.append(answer)
        self._wire.courier.forget([order.order_id])
        if isinstance(order, TrainOrder):
            name = update_blob(order.client_id, order.run_id, order.round_number)
            discard_update(self._wire.chunks, name, order.parameters.size_bytes)

    def send(self, task: str, orders: Sequence[Order]) -> None:
        """Send orders to the queues that their clients announced."""
        self._wire.courier.send(task, orders, self._manager.queue)

    def collect(
        self,
        task: str,
        slots: Slots,
        timeout_s: float,
        fill: Fill = lambda _slot, _answer: None,
        refill: Callable[[], None] = lambda: None,
        admit: Callable[[float], None] = lambda _left_s: None,
    ) -> None:
        """Fill all of ``slots``.

        Args:
            task: The task that carries the orders.
            slots: The slots; their orders are out.
            timeout_s: Seconds after which open slots are filled as lost.
            fill: Called once for each slot, with what fills it.
            refill: Called when what was done with filled slots is lost and must be done again.
            admit: Called with the seconds that are left, to add slots for clients that have come.
        """
        deadline = self._clock() + timeout_s
        next_tick = self._clock()
        while slots.open():
            now = self._clock()
            if now >= next_tick:
                next_tick = now + TICK_S
                if self._tick():
                    refill()
                admit(deadline - now)
            by_id = {slot.order.order_id: slot.order for slot in slots.open()}
            # What a client that has just vanished may have stored is read before its slot is given up.
            is_urgent = bool(slots.lost(self._manager.incarnations()))
            pause = 0.0 if is_urgent else max(0.0, min(deadline, next_tick) - now)
            task_ids = [*by_id, *self._outstanding]
            for order_id, raw in self._wire.courier.collect(task_ids, pause, MAX_ANSWER_BYTES).items():
                if order_id in by_id:
                    self._fill(slots, self._read(raw, by_id[order_id]), fill)
                else:
                    self._take_late(raw, self._outstanding.pop(order_id))
            present = self._manager.incarnations()
            if anew := slots.started_anew(present):
                self.send(task, [slot.order for slot in anew])
            for slot, answer in slots.overdue() if self._clock() >= deadline else slots.lost(present):
                self._wire.courier.withdraw(slot.order, self._manager.queue)
                self._fill(slots, answer, fill)

    def result(self, task_id: str, timeout_s: float, again: Callable[[], str]) -> bytes | str | None:
        """Return the raw result of a task of the orchestrator's own, or None when ``timeout_s`` have passed.

        Args:
            task_id: The task.
            timeout_s: Seconds to wait at the most.
            again: Called when the task may be lost, with a worker that ended: sends it again and returns its new id.
                Whichever of them ends first counts, for they all return the same.
        """
        started = next_tick = self._clock()
        next_retry = started + RETRY_S
        task_ids = [task_id]
        while (now := self._clock()) < started + timeout_s:
            if now >= next_tick:
                next_tick = now + TICK_S
                if self._tick() or now >= next_retry:
                    next_retry = now + 2 * (next_retry - started)
                    task_ids.append(again())
            found = self._wire.courier.collect(task_ids, max(0.0, min(started + timeout_s, next_tick) - now))
            if found:
                return next(iter(found.values()))
        return None

    def _fill(self, slots: Slots, answer: Answer, fill: Fill) -> None:
        slot = slots.fill(answer.order_id, answer)
        if slot is not None:
            fill(slot, answer)
