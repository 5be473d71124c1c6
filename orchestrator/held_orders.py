"""Orders that are held back: of those to clients that share a worker, as many are out as keep its processes busy.

An order is out until its update has been taken in. So neither what the orchestrator looks out for nor what it has still
to take in grows with the clients. Pure: no clock, no queue.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice


@dataclass(slots=True)
class _Line:
    """The orders to a queue: how many may be out, those that are, and those that wait, in order."""

    room: int
    out: set[str] = field(default_factory=set)
    waiting: dict[str, None] = field(default_factory=dict)


class HeldOrders:
    """The orders of a round to clients that share workers: by their queue, those that are out and those that wait."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._line_of: dict[str, _Line] = {}

    def hold(self, order_id: str, queue: str, room: int) -> None:
        """Have an order wait before it is sent to its queue, of whose orders ``room`` may be out at a time."""
        line = self._lines.setdefault(queue, _Line(room))
        line.waiting[order_id] = None
        self._line_of[order_id] = line

    def is_held(self, order_id: str) -> bool:
        """Say whether an order has not been sent yet."""
        line = self._line_of.get(order_id)
        return line is not None and order_id in line.waiting

    def release(self) -> list[str]:
        """Return the orders that are to be sent now; from here on they are out."""
        due = []
        for line in self._lines.values():
            for order_id in list(islice(line.waiting, max(0, line.room - len(line.out)))):
                self.was_sent(order_id)
                due.append(order_id)
        return due

    def was_sent(self, order_id: str) -> None:
        """Note that an order is out, if it was held: a former start of the orchestrator has sent it."""
        line = self._line_of.get(order_id)
        if line is not None and order_id in line.waiting:
            del line.waiting[order_id]
            line.out.add(order_id)

    def over(self, order_id: str) -> None:
        """Note that an order's slot is filled, and its update, if there is one, taken in."""
        line = self._line_of.pop(order_id, None)
        if line is not None:
            line.waiting.pop(order_id, None)
            line.out.discard(order_id)
