"""Uploads: which orders are out, who may send its update now, and what is on its way. Pure: no clock, no queue.

An update is on its way from when its client may send it until it has been taken in. Who may not yet, waits for a turn;
turns are given in the order in which they were asked for. So the broker's memory does not grow with the clients.

Of the orders to clients that share a worker, as many are out as keep its processes busy; the others are held back. An
order is out until its update has been taken in. So the orchestrator does not look out for more with more clients.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice

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


@dataclass(slots=True)
class _Turn:
    """A turn that was given: since when, what was there of the update at the last look, and when that was."""

    since: float
    num_bytes: int
    looked: float


@dataclass(slots=True)
class _Line:
    """The orders to a queue: how many may be out, how many go together, those that are out, and those held back."""

    room: int
    together: int
    out: set[str] = field(default_factory=set)
    held: dict[str, None] = field(default_factory=dict)


class Uploads:
    """The orders of an exchange that are held back, the updates that wait for their turn, and those on their way.

    Times are seconds that only go up.

    Args:
        limit: How many may be on their way, but for those that are on slow lines.
        most: How many may be on their way whatever their lines; None: the limit.
        slow_s: Seconds after which an update that is still being sent is on a slow line.
        patience_s: Seconds in which something of an update must come, if others wait and there is no room.
    """

    def __init__(
        self,
        limit: int = sys.maxsize,
        most: int | None = None,
        slow_s: float = math.inf,
        patience_s: float = math.inf,
    ) -> None:
        self._limit = limit
        self._most = limit if most is None else most
        self._slow_s = slow_s
        self._patience_s = patience_s
        self._waiting: dict[str, None] = {}
        self._ready: set[str] = set()
        self._sending: dict[str, _Turn] = {}
        self._sent: dict[str, float] = {}
        self._parts: dict[str, list[str]] = {}
        self._lines: dict[str, _Line] = {}
        self._line_of: dict[str, _Line] = {}

    def hold(self, order_id: str, queue: str, room: int, together: int = 1) -> None:
        """Hold an order back from its queue, of whose orders ``room`` times ``together`` may be out at a time."""
        line = self._lines.setdefault(queue, _Line(room * together, together))
        line.held[order_id] = None
        self._line_of[order_id] = line

    def is_held(self, order_id: str) -> bool:
        """Say whether an order has not been sent yet."""
        line = self._line_of.get(order_id)
        return line is not None and order_id in line.held

    def holds_any(self) -> bool:
        """Say whether there are orders that have not been sent yet."""
        return any(line.held for line in self._lines.values())

    def release(self) -> list[str]:
        """Return the orders that are to be sent now; from here on they are out."""
        due = []
        for line in self._lines.values():
            room = line.room - len(line.out)
            if room >= min(line.together, len(line.held)):
                for order_id in list(islice(line.held, max(0, room))):
                    self.was_sent(order_id)
                    due.append(order_id)
        return due

    def was_sent(self, order_id: str) -> None:
        """Note that an order is out, if it was held: a former start of the orchestrator has sent it."""
        line = self._line_of.get(order_id)
        if line is not None and order_id in line.held:
            del line.held[order_id]
            line.out.add(order_id)

    def done(self, order_id: str) -> None:
        """Note that an order's slot is filled, and that there is no update to be taken in."""
        self.restart(order_id)
        self._make_room(order_id)

    def _make_room(self, order_id: str) -> None:
        """Note that an order is not out any more."""
        line = self._line_of.pop(order_id, None)
        if line is not None:
            line.held.pop(order_id, None)
            line.out.discard(order_id)

    def wait(self, order_id: str) -> None:
        """Have an order's update, which is ready, wait for its turn; asked for again, nothing changes."""
        if order_id not in self._ready:
            self._ready.add(order_id)
            self._waiting[order_id] = None

    def is_ready(self, order_id: str) -> bool:
        """Say whether an order was carried out, and its update waits for its turn or has got it."""
        return order_id in self._ready

    def has_turn(self, order_id: str) -> bool:
        """Say whether an order's update is on its way."""
        return order_id in self._sending or order_id in self._sent

    def give(self, now: float) -> list[str]:
        """Give turns as there is room, and return to whom."""
        given = []
        while self._waiting and self._has_room(now):
            order_id = next(iter(self._waiting))
            del self._waiting[order_id]
            self._sending[order_id] = _Turn(now, 0, now)
            given.append(order_id)
        return given

    def next_change(self, now: float) -> float:
        """Return when there may be room, or somebody to be looked at, if nothing else happens until then."""
        if not self._waiting:
            return math.inf
        times = [turn.looked + self._patience_s for turn in self._sending.values()]
        if self._num_on_their_way() < self._most:
            times += [turn.since + self._slow_s for turn in self._sending.values()]
        return min((time for time in times if time > now), default=math.inf)

    def silent(self, now: float) -> list[str]:
        """Return those whose turn others wait for, and of whose updates nothing is known to have come for long."""
        if not self._waiting or self._has_room(now):
            return []
        return [order_id for order_id, turn in self._sending.items() if turn.looked + self._patience_s <= now]

    def looked_at(self, order_id: str, num_bytes: int, now: float) -> bool:
        """Note how much of an update is there; False if that is no more than it was at the last look."""
        turn = self._sending[order_id]
        is_more = num_bytes > turn.num_bytes
        if is_more:
            turn.num_bytes, turn.looked = num_bytes, now
        return is_more

    def answered(self, order_id: str, part_id: str | None, now: float) -> None:
        """Note that an order was answered, and which task takes its update in; None: there is nothing to wait for."""
        if part_id is None:
            self.done(order_id)
        else:
            self.restart(order_id)
            self._sent[order_id] = now
            self._parts.setdefault(part_id, []).append(order_id)

    def parts(self) -> list[str]:
        """Return the tasks that are to take updates in, for which there is no room else."""
        return list(self._parts)

    def taken_in(self, part_id: str) -> bool:
        """Note that a task has taken its updates in; False if it is none of these."""
        order_ids = self._parts.pop(part_id, None)
        for order_id in order_ids or ():
            self._sent.pop(order_id, None)
            self._make_room(order_id)
        return order_ids is not None

    def oldest_s(self, now: float) -> float:
        """Return for how many seconds the oldest task has been there that is to take an update in; 0: there is none."""
        return now - min(self._sent.values(), default=now)

    def renew(self, parts: Mapping[str, Collection[str]], now: float) -> None:
        """Have other tasks too take in what is to be taken in: part's id -> orders' ids. The first of them counts."""
        awaited = {part_id: [each for each in order_ids if each in self._sent] for part_id, order_ids in parts.items()}
        self._parts |= {part_id: order_ids for part_id, order_ids in awaited.items() if order_ids}
        self._sent = dict.fromkeys(self._sent, now)

    def restart(self, order_id: str) -> None:
        """Note that nothing is on its way for an order: it is sent again."""
        self._ready.discard(order_id)
        self._waiting.pop(order_id, None)
        self._sending.pop(order_id, None)
        self._sent.pop(order_id, None)

    def _num_on_their_way(self) -> int:
        return len(self._sending) + len(self._sent)

    def _has_room(self, now: float) -> bool:
        num_slow = sum(turn.since + self._slow_s <= now for turn in self._sending.values())
        return self._num_on_their_way() - num_slow < self._limit and self._num_on_their_way() < self._most
