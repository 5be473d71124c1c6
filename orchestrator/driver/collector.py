"""Collecting answers: the one loop that waits for clients; when the deadline has passed every slot is filled.

Whoever collects iterates over what happens: so it reads downwards, from the round to the exchange to here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from orchestrator.clients.manager import ClientManager
from orchestrator.driver.late_responses import LateResponses
from orchestrator.driver.slots import MAX_SENT, Slot, Slots
from orchestrator.observers.events import OrdersAnswered, Report
from orchestrator.policies import Progress
from orchestrator.store.updates import bytes_sent
from orchestrator.transport.groups import Durations, in_groups
from orchestrator.transport.responses import says_ready, stored_document
from orchestrator.transport.results import MAX_RESULT_BYTES
from orchestrator.transport.task_failures import TaskFailure
from orchestrator.transport.transport import TICK_S, Lost, RunServices
from orchestrator.transport.uploads import Uploads
from tasks.errors import MessageError
from tasks.messages import MAX_RESPONSE_BYTES, Order, Response, UpdateOrder

MOST_LOOKING = 0.05
"""Share of the time that looks at all clients may take: with ten thousand of them one takes a while."""
GRACE_S = 1.5
"""Seconds that an answer may take on its way, beyond what the order allows for the work; a process that is stuck is
ended within them, and free for the next order."""
OWN_WORK_TIMEOUT_S = 1800.0
"""Seconds that the orchestrator's own workers may take for a task before the run is given up."""
RETRY_S = 300.0
"""Seconds after which a task of the orchestrator's own is taken for lost with a worker that isn't supervised here, and
sent again; each time twice as many. One that was only slow is done twice then, which changes nothing."""
MAX_KILLED = 2
"""How often a task of the orchestrator's own is sent again because the process that was at it was killed."""
SILENT = "nothing more of its update came in its turn, while others waited for theirs"
NOT_WAITED_FOR = "the round was closed without waiting for it (--policy)"


class Filled(NamedTuple):
    """Slots were filled: their answers are to be taken in, and :meth:`Uploads.answered` to be told what takes each in.

    Attributes:
        answers: The answers, or what stands in for one; at least one. They came together.
    """

    answers: Sequence[Response]


class Looked(NamedTuple):
    """A look at the clients was made, and slots may be added for those that have come.

    Attributes:
        left_s: Seconds that are left.
    """

    left_s: float


class Collector:
    """Waits for clients and own workers, and looks after them meanwhile.

    Args:
        services: How clients are reached.
        manager: Who is connected.
        tick: Called between two waits; returns what was lost since the last.
        clock: Seconds that only go up.
        report: Is told what has been answered to orders that were asked.
    """

    def __init__(
        self,
        services: RunServices,
        manager: ClientManager,
        tick: Callable[[], Lost],
        clock: Callable[[], float] = time.monotonic,
        report: Report = lambda _: None,
    ) -> None:
        self.services = services
        self.manager = manager
        self.clock = clock
        self.late = LateResponses(services, clock)
        self.durations = Durations()
        self.next_tick = -math.inf
        self.aside: dict[str, Callable[[bytes | str], None]] = {}
        """Tasks of the orchestrator's own that nobody waits for -> what takes the raw result."""
        self._tick = tick
        self._report = report

    def send(self, orders: Sequence[Order], *, more_follow: bool = False) -> None:
        """Send orders to the queues that their clients announced, together where they are quick.

        Args:
            orders: The orders.
            more_follow: Whether others for the same workers follow soon.
        """
        groups = in_groups(orders, self.durations.expected(orders), self.manager.place, more_follow=more_follow)
        self.services.transport.send_together(groups, self.manager.queue)

    def ask(
        self, orders: Sequence[Order], timeout_s: float, restore: Callable[[], object] = lambda: None
    ) -> list[Response]:
        """Send orders of one kind and return what answers them, or stands in for an answer, in their order.

        Args:
            orders: The orders.
            timeout_s: Seconds to wait at the most.
            restore: Called when the broker was emptied: puts what the orders refer to there again.
        """
        slots = Slots(orders, self.manager.incarnations())
        self.send(orders)
        for event in self.collect(slots, Uploads(), timeout_s):
            if event is Lost.ALL:
                restore()
        self.services.transport.forget([order.order_id for order in orders])
        responses = [response for _, response in slots.filled()]
        if orders:
            number, kind = orders[0].round_number, orders[0].name
            cpu_s = {response.client_id: response.cpu_s for response in responses}
            self._report(OrdersAnswered(round_number=number, order=kind, cpu_s=cpu_s))
        return responses

    def collect(
        self,
        slots: Slots,
        uploads: Uploads,
        timeout_s: float,
        is_complete: Callable[[Progress], bool] = lambda _: False,
    ) -> Iterator[Filled | Looked | Lost]:
        """Fill all of ``slots``, and yield what happens.

        ``Lost.OWN_WORK`` says that what was done with filled slots is lost, and must be done again; ``Lost.ALL`` that
        what orders refer to is gone as well, and so may be the updates of slots, which are to be opened anew. The
        orders of all open slots are sent again then.

        Args:
            slots: The slots; their orders are out, but for those that are held back.
            uploads: Which orders are held back, and whose turn it is to send an update.
            timeout_s: Seconds after which open slots are filled as lost.
            is_complete: Says whether those that are open are to be filled as lost before that.
        """
        return _Collection(self, slots, uploads).run(timeout_s, is_complete)

    def result(
        self, task_id: str, again: Callable[[], str], restore: Callable[[], object] = lambda: None
    ) -> bytes | str | None:
        """Return the raw result of a task of the orchestrator's own, or None if there is none in time.

        Args:
            task_id: The task.
            again: Called when the task is lost with its process, or may be with its worker: sends it again and returns
                its new id. Whichever of them ends first counts, for they all return the same.
            restore: Called before that when the broker was emptied.
        """
        started = self.clock()
        deadline, next_retry = started + OWN_WORK_TIMEOUT_S, started + RETRY_S
        task_ids, num_killed = [task_id], 0
        while (now := self.clock()) < deadline:
            lost = self.look() if self.is_tick_due(now) else Lost.NOTHING
            if lost is Lost.ALL:
                restore()
            if lost is not Lost.NOTHING or now >= next_retry:
                next_retry = now + 2 * (next_retry - started)
                task_ids.append(again())
            found = self.results(task_ids, max(0.0, min(deadline, self.next_tick) - self.clock()))
            for raw in found.values():
                if num_killed == MAX_KILLED or not ended_with_its_process(raw):
                    return raw
                num_killed += 1
                task_ids = [*(each for each in task_ids if each not in found), again()]
        return None

    def results(
        self, task_ids: Collection[str], timeout_s: float, max_bytes: int = MAX_RESULT_BYTES
    ) -> dict[str, bytes | str]:
        """Return the raw results of those tasks that have ended, as :meth:`Transport.collect` does, and hand on others.

        Those are of tasks that are ``aside``.
        """
        found = self.services.transport.collect([*task_ids, *self.aside], timeout_s, max_bytes)
        for task_id in self.aside.keys() & found.keys():
            self.aside.pop(task_id)(found.pop(task_id))
        return found

    def is_tick_due(self, now: float) -> bool:
        """Say whether it is time to look after clients and own workers, and note that it is done."""
        is_due = now >= self.next_tick
        if is_due:
            self.next_tick = now + TICK_S
        return is_due

    def look(self) -> Lost:
        """Look after clients and own workers, the next time after a while in which that took no time to speak of."""
        began = self.clock()
        lost = self._tick()
        self.next_tick = max(self.next_tick, began + (self.clock() - began) / MOST_LOOKING)
        return lost


def ended_with_its_process(raw: bytes | str) -> bool:
    """Say whether a task of the orchestrator's own, or a part of its chord, ended because its process was killed."""
    try:
        failure = TaskFailure.of(stored_document(raw))
    except MessageError:
        return False  # who goes by its result says what is wrong
    return failure.process_died or failure.kind == "ChordError"


class _Collection:
    """What is being collected: see :meth:`Collector.collect`."""

    def __init__(self, collector: Collector, slots: Slots, uploads: Uploads) -> None:
        self._collector = collector
        self._transport = collector.services.transport
        self._manager = collector.manager
        self._late = collector.late
        self._clock = collector.clock
        self._slots = slots
        self._max_bytes = max((order.max_response_bytes for order in slots.orders()), default=MAX_RESPONSE_BYTES)
        self._uploads = uploads
        self._out: dict[str, Order] = {}
        """The orders that are out, by their ids: those of open slots but for the ones that are held back."""
        self._unsure: dict[str, int] = {}
        """Orders that were out as the broker was emptied -> how often one may be sent again if its update is gone."""

    def run(self, timeout_s: float, is_complete: Callable[[Progress], bool]) -> Iterator[Filled | Looked | Lost]:
        """Fill all slots, and yield what happens."""
        deadline, retry_s = self._clock() + timeout_s, RETRY_S
        yield from self._read_held()
        while self._slots.has_open() and not is_complete(self._slots.progress()):
            now = self._clock()
            is_due, someone_vanished = self._collector.is_tick_due(now), False
            if is_due:
                is_overdue = self._uploads.oldest_s(now) >= retry_s
                lost = self._collector.look()
                if lost is Lost.NOTHING and is_overdue:
                    yield Lost.OWN_WORK
                elif lost is not Lost.NOTHING:
                    yield lost
                retry_s *= 1 + is_overdue
                if lost is Lost.ALL:
                    self._send_again()
                yield Looked(deadline - now)
                # What a client that has just vanished may have stored is read before its slot is given up.
                someone_vanished = bool(self._slots.lost(self._manager.incarnations()))
                self._note_out()
            yield from self._give_up_silent()
            self._send_held()
            self._give_turns()
            change = self._uploads.next_change(now)
            wake_up = min(self._collector.next_tick, change, deadline if now < deadline else math.inf)
            yield from self._read_responses(0.0 if someone_vanished else max(0.0, wake_up - self._clock()))
            if is_due:
                yield from self._look_after()
            if self._clock() >= deadline:
                yield from self._close_overdue(self._clock() - deadline)
        yield from self._give_up([(slot, slot.lost(NOT_WAITED_FOR)) for slot in self._slots.open()])

    def _note_out(self) -> None:
        """Look anew which orders are out."""
        orders = [slot.order for slot in self._slots.open()]
        self._out = {order.order_id: order for order in orders if not self._uploads.is_held(order.order_id)}

    def _read_held(self) -> Iterator[Filled]:
        """Read what was answered to orders that are held: in a round that is taken up again they may have been sent."""
        held = [slot.order for slot in self._slots.open() if self._uploads.is_held(slot.order.order_id)]
        if held:
            self._out.update({order.order_id: order for order in held})
            yield from self._read_responses(0.0)
        self._note_out()

    def _send_held(self) -> None:
        """Send orders that were held until now; one that a former start has sent may have been answered already."""
        slots = [self._slots.find_open(order_id) for order_id in self._uploads.release()]
        orders = [slot.order for slot in slots if slot is not None]
        if orders:
            self._collector.send(orders, more_follow=self._uploads.holds_any())
            self._out.update({order.order_id: order for order in orders})

    def _send_again(self) -> None:
        """Send what a broker that was emptied has forgotten: a client that holds an order twice carries it out once."""
        self._note_out()
        orders = list(self._out.values())
        self._unsure.update(dict.fromkeys(self._out, MAX_SENT))
        self._collector.send(orders)
        for order in orders:
            if self._uploads.has_turn(order.order_id):
                self._transport.give_turn(order)

    def _ask_again(self, order: Order, response: Response) -> bool:
        """Send an order again if its update was on its way when the broker was emptied; say whether that was done."""
        left = self._unsure.get(order.order_id, 0)
        if left == 0 or response.update is None or self._collector.services.blobs.has(response.update):
            return False
        self._unsure[order.order_id] = left - 1
        self._uploads.restart(order.order_id)
        self._transport.forget([order.order_id])
        self._collector.send([order])
        return True

    def _give_turns(self) -> None:
        """Tell those whose turn it is."""
        for order_id in self._uploads.give(self._clock()):
            self._transport.give_turn(self._slots[order_id].order)

    def _give_up_silent(self) -> Iterator[Filled]:
        """Give up those whose turn others wait for in vain, as nothing comes of their updates."""
        silent = []
        for order_id in self._uploads.silent(self._clock()):
            slot = self._slots[order_id]
            if not self._uploads.looked_at(order_id, self._bytes_sent(slot.order), self._clock()):
                silent.append((slot, slot.lost(SILENT)))
        yield from self._give_up(silent)

    def _bytes_sent(self, order: Order) -> int:
        """Return how much of the update is there that was ordered."""
        if not isinstance(order, UpdateOrder):
            return 0
        blobs = self._collector.services.blobs
        return bytes_sent(blobs, order.update_blob, order.parameters.size_bytes, order.results_bytes)

    def _read_responses(self, pause_s: float) -> Iterator[Filled]:
        """Wait for answers, and fill their slots."""
        task_ids = [*self._out, *self._late.expected(), *self._uploads.parts()]
        taken_in, answers = [], []
        for task_id, raw in self._collector.results(task_ids, pause_s, self._max_bytes).items():
            slot = self._slots.find_open(task_id)
            if slot is None and self._uploads.taken_in(task_id):
                taken_in.append(task_id)
            elif slot is None:
                self._late.take(task_id, raw)
            elif says_ready(raw, slot.order):
                self._transport.expect_more(task_id)
                self._uploads.was_sent(task_id)
                self._uploads.wait(task_id)
                if self._uploads.has_turn(task_id):
                    self._transport.give_turn(slot.order)  # the broker may have forgotten that it was told
            else:
                response = self._transport.read(raw, slot.order, self._manager.num_examples(slot.order.client_id))
                if not self._ask_again(slot.order, response):
                    answers.append(response)
        if taken_in:
            self._transport.forget(taken_in)
        yield from self._record(answers)

    def _look_after(self) -> Iterator[Filled]:
        """Send their orders again to clients that were started anew, and give up those that have vanished."""
        present = self._manager.incarnations()
        anew = [slot.order for slot in self._slots.started_anew(present)]
        orders = [order for order in anew if not self._uploads.is_held(order.order_id)]
        for order in orders:
            self._uploads.restart(order.order_id)
        if orders:
            self._transport.take_turns_away(orders)
            self._collector.send(orders)
        yield from self._give_up(self._slots.lost(present))

    def _close_overdue(self, late_s: float) -> Iterator[Filled]:
        """Give up those that are late; one that was ready in time may wait for its turn a while longer."""
        yield from self._give_up(
            [
                (slot, response)
                for slot, response in self._slots.overdue()
                if late_s >= slot.order.turn_timeout_s or not self._uploads.is_ready(slot.order.order_id)
            ]
        )

    def _give_up(self, lost: Collection[tuple[Slot, Response]]) -> Iterator[Filled]:
        for slot, _ in lost:
            if self._uploads.is_ready(slot.order.order_id):
                self._late.stop(slot.order)
            if self._uploads.has_turn(slot.order.order_id):
                # What it has sent makes room for others' now, and what it may still send as soon as it has answered.
                self._late.discard(slot.order)
                self._late.expect([slot.order])
            self._transport.withdraw(slot.order, self._manager.queue)
        yield from self._record([response for _, response in lost])

    def _record(self, answers: Iterable[Response]) -> Iterator[Filled]:
        """Fill slots with answers; of what comes to a slot that is filled already, nothing counts."""
        filled = []
        for response in answers:
            self._out.pop(response.order_id, None)
            if (slot := self._slots.fill(response.order_id, response)) is not None:
                self._collector.durations.note(slot.order, response)
                filled.append(response)
        if filled:
            yield Filled(filled)
