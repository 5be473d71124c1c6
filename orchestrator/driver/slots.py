"""The slots of a round: one for each order that is out. Pure: no clock, no queue.

A slot is filled exactly once: by its answer, by the loss of its client, or by the deadline. It is opened anew if the
broker lost the update of its answer before that was taken in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.policies import Progress
from orchestrator.store.records import COUNTED
from tasks.messages import Order, Response, Status

MAX_SENT = 3
"""How often an order is sent at the most, to a client that is started anew again and again."""


@dataclass(frozen=True, slots=True)
class Slot:
    """An order that is out.

    Attributes:
        index: Number of the slot, from 0.
        order: The order.
        incarnation: The incarnation of the client that is to answer it.
        num_sent: How often it was sent.
    """

    index: int
    order: Order
    incarnation: str
    num_sent: int = 1

    def lost(self, reason: str) -> Response:
        """Return what fills the slot if no answer does."""
        return self.order.respond(Status.LOST, reason=reason)


class Slots:
    """Which slots are open, and what filled the others."""

    def __init__(self, orders: Sequence[Order], incarnations: Mapping[str, str]) -> None:
        self._slots: dict[str, Slot] = {}
        self._open: dict[str, Slot] = {}
        self._responses: dict[str, Response] = {}
        self._num_updates = 0
        for order in orders:
            self.add(order, incarnations.get(order.client_id, ""))

    def add(self, order: Order, incarnation: str) -> Slot:
        """Add an open slot for an order that is to go out."""
        slot = Slot(len(self._slots), order, incarnation)
        self._slots[order.order_id] = self._open[order.order_id] = slot
        return slot

    def __len__(self) -> int:
        """Number of slots, open and filled."""
        return len(self._slots)

    def __getitem__(self, order_id: str) -> Slot:
        """The slot of this order."""
        return self._slots[order_id]

    def orders(self) -> list[Order]:
        """Return all orders, in the order of the slots."""
        return [slot.order for slot in self._slots.values()]

    def open(self) -> list[Slot]:
        """Return the slots that are not filled."""
        return list(self._open.values())

    def has_open(self) -> bool:
        """Say whether any slot is not filled."""
        return bool(self._open)

    def find_open(self, order_id: str) -> Slot | None:
        """Return the slot of this order if it is not filled, or None."""
        return self._open.get(order_id)

    def filled(self) -> list[tuple[Slot, Response]]:
        """Return the slots that are filled, and with what, in the order of the slots."""
        return [
            (slot, self._responses[order_id]) for order_id, slot in self._slots.items() if order_id in self._responses
        ]

    def fill(self, order_id: str, response: Response) -> Slot | None:
        """Fill the slot of this order; None if there is none or it is filled already."""
        slot = self._open.pop(order_id, None)
        if slot is not None:
            self._responses[order_id] = response
            self._num_updates += response.status in COUNTED
        return slot

    def reopen(self, order_id: str) -> None:
        """Open a slot anew whose answer is of no use, as what it told of is gone."""
        self._num_updates -= self._responses.pop(order_id).status in COUNTED
        self._open[order_id] = self._slots[order_id]

    def progress(self) -> Progress:
        """Return how many slots are open, filled with an update, and filled without one."""
        return Progress(len(self._open), self._num_updates, len(self._responses) - self._num_updates)

    def started_anew(self, incarnations: Mapping[str, str]) -> list[Slot]:
        """Return the open slots whose clients were started anew, and expect their answers from the new start.

        Their orders are to be sent again: a client that holds an order twice carries it out once.
        """
        anew = []
        for slot in self.open():
            present = incarnations.get(slot.order.client_id, slot.incarnation)
            if present != slot.incarnation and slot.num_sent < MAX_SENT:
                again = replace(slot, incarnation=present, num_sent=slot.num_sent + 1)
                self._slots[slot.order.order_id] = self._open[slot.order.order_id] = again
                anew.append(again)
        return anew

    def lost(self, incarnations: Mapping[str, str]) -> list[tuple[Slot, Response]]:
        """Return the open slots whose clients are not there any more, each with what to fill it with."""
        lost = []
        for slot in self.open():
            present = incarnations.get(slot.order.client_id)
            if present is None:
                lost.append((slot, slot.lost("the client vanished")))
            elif present != slot.incarnation:
                lost.append((slot, slot.lost(f"the client was started anew {slot.num_sent} times")))
        return lost

    def overdue(self) -> list[tuple[Slot, Response]]:
        """Return all open slots, each with what to fill it with once the deadline has passed."""
        return [(slot, slot.lost("no answer by the deadline")) for slot in self.open()]
