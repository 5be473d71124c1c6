"""How many updates may be on their way through the broker at a time. Pure: no clock, no queue.

An update is on its way from when its client may send it until it has been taken in. Who may not yet, waits for a turn;
turns are given in the order in which they were asked for. So the broker's memory does not grow with the clients.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection

LINE_BYTES_S = 125e6
"""Bytes a second of a gigabit line. An update that is longer on its way than it would be if all that may be there
shared such a line is on a slow one of its own, and makes room for another beside it."""
LEAST = 2
"""Updates that may be on their way whatever their size: one that is sent, and one that is taken in."""
MOST = 16
"""How many times as many bytes may be on their way if all are on slow lines: of these only a part is there yet."""
LEAST_SLOW_S = 0.5
"""Seconds that no line is slow for, as processes may take them."""
LEAST_SLOW = 8
"""Updates that may be on their way on slow lines whatever their size."""


def updates_at_a_time(in_flight_bytes: float, update_bytes: int) -> int:
    """Return how many updates of ``update_bytes`` may be on their way where ``in_flight_bytes`` are allowed."""
    return max(LEAST, int(in_flight_bytes // max(1, update_bytes)))


def slow_updates_at_a_time(in_flight_bytes: float, update_bytes: int) -> int:
    """Return how many may be on their way if all are on slow lines; :func:`updates_at_a_time` says it of fast ones."""
    return max(LEAST_SLOW, int(MOST * in_flight_bytes // max(1, update_bytes)))


def slow_after_s(in_flight_bytes: float, update_bytes: int) -> float:
    """Return the seconds after which an update that is still being sent is on a slow line."""
    return max(LEAST_SLOW_S, updates_at_a_time(in_flight_bytes, update_bytes) * update_bytes / LINE_BYTES_S)


class Flow:
    """The updates of a round that are on their way, and those that wait for their turn.

    Args:
        limit: How many may be on their way, but for those that are on slow lines.
        most: How many may be on their way whatever their lines; None: the limit.
        slow_s: Seconds after which an update that is still being sent is on a slow line.
        held: Orders that are not sent before their turn, as their clients share a worker's processes: of these no more
            than are on their way are carried out. To the others their turn says that they may send.
    """

    def __init__(
        self, limit: int, most: int | None = None, slow_s: float = math.inf, held: Collection[str] = ()
    ) -> None:
        self._limit = limit
        self._most = limit if most is None else most
        self._slow_s = slow_s
        self._held = set(held)
        self._waiting: deque[str] = deque(held)
        self._ready: set[str] = set()
        self._since: dict[str, float] = {}
        self._parts: dict[str, str] = {}

    def is_held(self, order_id: str) -> bool:
        """Say whether an order has not been sent yet."""
        return order_id in self._held

    def hold(self, order_id: str) -> None:
        """Have an order wait before it is sent."""
        self._held.add(order_id)
        self._waiting.append(order_id)

    def wait(self, order_id: str) -> None:
        """Have an order's update, which is ready, wait for its turn; asked for again, nothing changes."""
        if order_id not in self._ready:
            self._ready.add(order_id)
            self._waiting.append(order_id)

    def is_ready(self, order_id: str) -> bool:
        """Say whether an order was carried out, and its update waits for its turn or has got it."""
        return order_id in self._ready

    def has_turn(self, order_id: str) -> bool:
        """Say whether an order's update is on its way."""
        return order_id in self._since

    def give(self, now: float) -> list[tuple[str, bool]]:
        """Give turns as there is room; return each order, and whether it was held until now.

        Args:
            now: Seconds that only go up.
        """
        given = []
        while self._waiting and self._has_room(now):
            order_id = self._waiting.popleft()
            self._since[order_id] = now
            given.append((order_id, order_id in self._held))
            self._held.discard(order_id)
        return given

    def answered(self, order_id: str, part_id: str | None) -> None:
        """Note that an update has been sent, and which task takes it in; None: there is nothing to take in."""
        if order_id not in self._since:
            self.over(order_id)
        elif part_id is None:
            del self._since[order_id]
        else:
            self._parts[part_id] = order_id

    def parts(self) -> list[str]:
        """Return the tasks that are to take updates in, for which there is no room else."""
        return list(self._parts)

    def taken_in(self, part_id: str) -> bool:
        """Note that a task has taken an update in; False if it is none of these."""
        order_id = self._parts.pop(part_id, None)
        if order_id is not None:
            self._since.pop(order_id, None)
        return order_id is not None

    def renew(self, parts: dict[str, str]) -> None:
        """Have other tasks take in what is to be taken in: part's id -> order's id."""
        self._parts = {part_id: order_id for part_id, order_id in parts.items() if order_id in self._since}

    def sent_anew(self, order_id: str, now: float) -> None:
        """Note that an order is sent again, to a client that was started anew: its update is made, and asked for, anew.

        One that was held until it had its turn keeps that.
        """
        keeps = order_id in self._since and order_id not in self._ready
        self.over(order_id)
        if keeps:
            self._since[order_id] = now

    def over(self, order_id: str) -> None:
        """Note that an order's slot is filled without an update."""
        self._held.discard(order_id)
        self._ready.discard(order_id)
        self._since.pop(order_id, None)
        if order_id in self._waiting:
            self._waiting.remove(order_id)

    def _has_room(self, now: float) -> bool:
        being_taken_in = set(self._parts.values())
        slow = sum(
            now - since >= self._slow_s and order_id not in being_taken_in for order_id, since in self._since.items()
        )
        return len(self._since) - slow < self._limit and len(self._since) < self._most
