"""One exchange of a round with its clients: orders go out, arrays come back and are taken in, the parts of a chord."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from orchestrator.clients.waves import Place, in_turn
from orchestrator.driver.collector import Filled, Looked
from orchestrator.driver.context import RunContext
from orchestrator.driver.feeding import Feeding
from orchestrator.driver.model_publisher import publish_broadcast, publish_start, publish_surveyed
from orchestrator.driver.slots import Slots
from orchestrator.observers.events import OrdersAnswered, OrdersTaken, Outcome, SlotsFilled
from orchestrator.store.records import OpenRound, SlotRecord
from orchestrator.store.slot_records import SlotRecords
from orchestrator.store.updates import discard_updates
from orchestrator.transport.groups import usual_size
from orchestrator.transport.responses import says_ready
from orchestrator.transport.transport import Lost
from orchestrator.transport.uploads import Uploads, slow_after_s, slow_updates_at_a_time, updates_at_a_time
from tasks.broker.connection import CHUNK_TIMEOUT_S
from tasks.messages import Order, Response, Status, UpdateOrder
from tasks.orders.train import TrainOrder
from tasks.scope import client_queue

logger = logging.getLogger(__name__)

ORDERS_A_PROCESS = 2
"""Orders that are out for each process of a worker that many clients share: one that it carries out, and the next. Of
orders that go together, as many groups."""


class Exchange:
    """An exchange under way.

    Args:
        context: The run's.
        opened: The round.
        orders: The orders, one a client, all of one kind, in the order of the slots; there is at least one.
        body_task: The task that is given what was taken in: the body of the chord.
    """

    def __init__(self, context: RunContext, opened: OpenRound, orders: Sequence[UpdateOrder], body_task: str) -> None:
        self._context = context
        self._opened = opened
        self._number = opened.round_number
        self._kind = orders[0].name
        self._is_crowded = opened.is_crowded
        self._slots = Slots(orders, opened.cohort)
        self._records = SlotRecords(context.folder.slots(self._number, self._kind))
        self._uploads = self._new_uploads(opened.parameters.size_bytes + opened.results_bytes)
        self._hold_back(orders)
        self._feeding = Feeding(context, self._number, self._kind, body_task, keeps_results=self._is_crowded)
        self._untold: dict[str, Outcome] = {}
        """Slots that were filled since the last look, by client id."""
        self._timeout_s = context.config.timeout_s
        """Seconds that all slots may take to be filled."""

    def forget_former_responses(self) -> None:
        """Remove what was answered to a former attempt at the round, whose updates have been taken in and are gone.

        Who waits for its turn since then is given it now.
        """
        orders = {order.order_id: order for order in self._slots.orders()}
        max_bytes = max(order.max_response_bytes for order in orders.values())
        found = self._context.services.transport.collect(orders, 0.0, max_bytes)
        self._context.services.transport.forget([key for key, raw in found.items() if not says_ready(raw, orders[key])])

    def send(self) -> None:
        """Put the orders on the clients' queues, those of clients that share a worker in another order every round."""
        self._feeding.begin()
        orders = self._slots.orders()
        # In a crowded round updates are added up in the order of the slots, and those that come before wait on disk.
        self._send(orders if self._is_crowded else in_turn(orders, self._place, self._number))

    def send_again(self) -> None:
        """Put the orders on the clients' queues that may not be there, but for those whose updates were taken in."""
        self._feeding.begin()
        self._fill_ingested()
        self._send([slot.order for slot in self._slots.open()])

    def add(self, orders: Sequence[UpdateOrder], incarnations: dict[str, str]) -> None:
        """Send orders to more clients, by id with their incarnations, while another slot is open."""
        for order in orders:
            self._slots.add(order, incarnations[order.client_id])
        self._hold_back(orders)
        self._send(orders)

    def open_clients(self) -> list[str]:
        """Return the clients whose slots are not filled."""
        return [slot.order.client_id for slot in self._slots.open()]

    def collect(self, timeout_s: float) -> Iterator[float]:
        """Fill every slot, and have what fills it taken in; what was taken in before stays.

        Yields now and then the seconds that are left, for orders to be added to clients that have come.

        Args:
            timeout_s: Seconds after which slots that are still open are filled as lost.
        """
        if not self._feeding.has_begun:
            self._feeding.begin()
        self._fill_ingested()
        self._timeout_s = timeout_s
        yield from self._collect()

    def _collect(self) -> Iterator[float]:
        """Fill every slot; see :meth:`collect`."""
        collector = self._context.collector
        for event in collector.collect(self._slots, self._uploads, self._timeout_s, self._context.policy.is_complete):
            if isinstance(event, Filled):
                self._take_in(event.answers)
            elif isinstance(event, Looked):
                self._tell_filled()
                self._tell_taken()
                yield event.left_s
            else:
                if event is Lost.ALL:
                    self._restore()
                self._start_chord_anew()
        self._tell_filled()
        collector.late.expect([slot.order for slot, response in self._slots.filled() if response.status is Status.LOST])

    def result(self) -> bytes | str | None:
        """Return the raw result of the chord's body, or None if there is none in time."""

        def again() -> str:
            self._start_chord_anew()
            return self._feeding.body_id

        return self._context.collector.result(self._feeding.body_id, again, self._collect_again)

    def forget(self, model_bytes: int) -> None:
        """Remove what the exchange has left on the broker, for a model of this length."""
        transport = self._context.services.transport
        task_ids = self._context.collector.late.recently_closed(order.order_id for order in self._slots.orders())
        if self._is_crowded:
            over = set(task_ids)  # the others' clients may still be to see that they are to stop
            transport.take_turns_away([order for order in self._slots.orders() if order.order_id in over])
        self._feeding.forget(task_ids)
        # Of those that came late or were rejected unread.
        updates = [order.update_blob for order in self._slots.orders()]
        discard_updates(self._context.services.blobs, updates, model_bytes, self._opened.results_bytes)

    def _send(self, orders: Sequence[Order]) -> None:
        self._context.collector.send([each for each in orders if not self._uploads.is_held(each.order_id)])

    def _place(self, order: Order) -> Place:
        return self._context.manager.place(order.client_id)

    def _hold_back(self, orders: Sequence[UpdateOrder]) -> None:
        """Hold orders back to clients that share a worker, if the round is crowded."""
        if not self._is_crowded:
            return
        lines: dict[Place, list[UpdateOrder]] = {}
        for order in orders:
            place = self._place(order)
            if place.queue != client_queue(order.client_id):
                lines.setdefault(place, []).append(order)
        for place, line in lines.items():
            together = usual_size(line, self._context.collector.durations.expected(line), place)
            for order in line:
                self._uploads.hold(order.order_id, place.queue, ORDERS_A_PROCESS * place.num_processes, together)

    def _new_uploads(self, update_bytes: int) -> Uploads:
        """Return what lets updates come: all may be on their way if they are few, or aren't carried."""
        config = self._context.config
        if not self._is_crowded or not self._context.services.blobs.needs_permits:
            return Uploads()
        allowed = config.in_flight_mb * 1e6, update_bytes
        return Uploads(
            updates_at_a_time(*allowed),
            slow_updates_at_a_time(*allowed),
            slow_after_s(*allowed),
            # A client gives a connection up on which a chunk has taken longer, and begins anew.
            min(CHUNK_TIMEOUT_S, config.timeout_s / 2),
        )

    def _fill_ingested(self) -> None:
        """Fill the slots of a round that is taken up again with what was taken in before."""
        answers = []
        for slot in self._slots.open():
            order = slot.order
            record = self._records.get(order.client_id)
            if record is not None and self._slots.fill(order.order_id, response := record.response(order)):
                answers.append(response)
        if answers:
            self._take_in(answers)

    def _restore(self) -> None:
        """Put what the orders refer to on a broker that was emptied, and open the slots anew whose updates are gone.

        These are the ones that were not taken in. One that was rejected may be among them: it is judged again.
        """
        context, gone = self._context, []
        publish_start(context, self._number - 1)
        publish_broadcast(context, self._number - 1)
        if self._opened.surveyed is not None:
            publish_surveyed(context, self._number, self._opened.surveyed.digest)
        for slot, response in self._slots.filled():
            if response.update is None or self._is_taken_in(response.client_id):
                continue
            if not context.services.blobs.has(response.update):
                gone.append(slot.order)
        self._records.reopen(order.client_id for order in gone)
        for order in gone:
            logger.warning(
                "client %s: its update of round %d is gone and asked for again",
                order.client_id,
                self._number,
                extra={"client_id": order.client_id},
            )
            self._slots.reopen(order.order_id)
            self._uploads.restart(order.order_id)
        context.services.transport.forget([order.order_id for order in gone])

    def _is_taken_in(self, client_id: str) -> bool:
        """Say whether a client's update is in the run's folder: it counts, or an own worker looks at it now."""
        record, folder = self._records.get(client_id), self._context.folder
        if record is not None:
            return record.status is not Status.REJECTED
        paths = folder.update, folder.packed_update
        return any(path(self._number, client_id, self._kind).exists() for path in paths)

    def _collect_again(self) -> None:
        """Ask those again whose updates a broker that was emptied had when all had been answered."""
        self._restore()
        if self._slots.has_open():
            self._send([slot.order for slot in self._slots.open()])
            for _ in self._collect():
                pass  # who comes now is too late

    def _start_chord_anew(self) -> None:
        """Do again what a worker of the orchestrator's may have lost; taking in is done once all the same."""
        logger.warning("round %d: its chord is started anew", self._number)
        self._feeding.begin()
        answers = [response for _, response in self._slots.filled()]
        if answers:
            self._uploads.renew(self._send_parts(answers), self._context.clock())

    def _take_in(self, answers: Sequence[Response]) -> None:
        """Have answers taken in; in a crowded round the next uploads are let in when that is done."""
        part_of = {order_id: part for part, order_ids in self._send_parts(answers).items() for order_id in order_ids}
        for response in answers:
            is_awaited = self._is_crowded and response.update is not None
            part_id = part_of[response.order_id] if is_awaited else None
            self._uploads.answered(response.order_id, part_id, self._context.clock())
            self._untold[response.client_id] = Outcome.of(SlotRecord.of(response))

    def _send_parts(self, answers: Sequence[Response]) -> dict[str, list[str]]:
        return self._feeding.take_in(answers, is_last=not self._slots.has_open())

    def _tell_taken(self) -> None:
        """Tell which orders to train were taken since this was called last, and aren't answered."""
        slots = map(self._slots.find_open, self._context.services.transport.taken())
        taken = tuple(slot.order.client_id for slot in slots if slot is not None)
        if taken and self._kind == TrainOrder.name:
            self._context.report(OrdersTaken(round_number=self._number, client_ids=taken))

    def _tell_filled(self) -> None:
        """Tell which slots were filled since this was called last."""
        untold, self._untold = self._untold, {}
        if untold and self._kind == TrainOrder.name:
            self._context.report(SlotsFilled(round_number=self._number, slots=untold))
        elif untold:
            cpu_s = {client_id: slot.cpu_s for client_id, slot in untold.items()}
            self._context.report(OrdersAnswered(round_number=self._number, order=self._kind, cpu_s=cpu_s))
