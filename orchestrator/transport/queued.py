"""Which orders still wait on their queues. Pure: how long a queue is, somebody else looks up.

A queue is first in, first out, and a worker takes an order from it as it begins it. So the messages that are left are
the last that were sent. Orders that one message brings to a worker are taken together. Where other runs fill a queue
too, it is longer than what is left of this one's: then an order may be known to be taken only when it is answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence


class Queued:
    """The messages of each queue that aren't known to have been taken."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[Sequence[str]]] = {}
        self._queue_of: dict[str, str] = {}
        self._taken: list[str] = []

    def sent(self, queue: str, order_ids: Sequence[str]) -> None:
        """Note that a message with these orders was put on a queue."""
        self._lines.setdefault(queue, deque()).append(order_ids)
        self._queue_of.update(dict.fromkeys(order_ids, queue))

    def answered(self, order_ids: Iterable[str]) -> None:
        """Note that something has come of orders: they were taken, and so was all that was sent there before them."""
        for order_id in order_ids:
            queue = self._queue_of.get(order_id)
            while queue is not None and order_id in self._queue_of:
                self._take(queue)

    def emptied(self, queue: str) -> None:
        """Note that what was on a queue was removed, and taken by nobody."""
        for order_ids in self._lines.pop(queue, ()):
            self._forget(order_ids)

    def queues(self) -> list[str]:
        """Return the queues on which orders may be."""
        return list(self._lines)

    def taken(self, lengths: Mapping[str, int]) -> list[str]:
        """Return the orders that have been taken since this was asked last, by how many messages queues have now."""
        for queue, length in lengths.items():
            while len(self._lines.get(queue, ())) > length:
                self._take(queue)
        taken, self._taken = self._taken, []
        return taken

    def _take(self, queue: str) -> None:
        line = self._lines[queue]
        order_ids = line.popleft()
        if not line:
            del self._lines[queue]
        self._taken += order_ids
        self._forget(order_ids)

    def _forget(self, order_ids: Iterable[str]) -> None:
        for order_id in order_ids:
            self._queue_of.pop(order_id, None)
