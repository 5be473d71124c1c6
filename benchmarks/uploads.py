"""Uploads of a round over clients' own lines, simulated; the turns are given by the real ``orchestrator.flow.Flow``.

Deterministic. Lines are fluid: those that send share the broker's line fairly, none gets more than its own carries
(max-min fairness). The loop looks as the collector does: when something has happened, when the flow says that something
changes, and once a second.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.flow import Flow
from orchestrator.wire import TICK_S

_DONE = 1e-9
"""Share of an update that may be missing of it when it counts as sent: for rounding."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A client's update: when it is ready, in seconds, and bytes a second of the client's line."""

    ready_s: float
    line_bytes_s: float


@dataclass(frozen=True, slots=True)
class Course:
    """What a simulation came to.

    Attributes:
        sent_s: Client -> when its update had been sent.
        over_s: When the last update was taken in.
        most_bytes: The most bytes of updates that were in the broker at a time.
        mean_bytes: How many were there on average, until the end.
        most_at_once: The most updates that were on their way at a time.
    """

    sent_s: Mapping[int, float]
    over_s: float
    most_bytes: float
    mean_bytes: float
    most_at_once: int

    def num_sent_by(self, when_s: float) -> int:
        """Return how many updates had been sent by ``when_s``: those that a round which ends then has."""
        return sum(sent_s <= when_s for sent_s in self.sent_s.values())


def shares(lines: Mapping[int, float], capacity: float) -> dict[int, float]:
    """Share a capacity among lines: max-min fair, in bytes a second.

    Args:
        lines: Line -> what it carries at the most.
        capacity: What all may carry together.
    """
    given, left = {}, capacity
    for position, (number, most) in enumerate(sorted(lines.items(), key=lambda item: item[1])):
        given[number] = min(most, left / (len(lines) - position))
        left -= given[number]
    return given


class Simulation:
    """A round's uploads.

    Args:
        uploads: Of client 0, 1, …
        flow: Gives the turns.
        update_bytes: Bytes of each update.
        line_bytes_s: Bytes a second of the broker's line.
        processes: Processes that take updates in.
        take_in_s: Seconds that one takes for an update.
    """

    def __init__(
        self,
        uploads: Sequence[Upload],
        flow: Flow,
        update_bytes: float,
        line_bytes_s: float,
        processes: int,
        take_in_s: float,
    ) -> None:
        self._uploads = uploads
        self._flow = flow
        self._update_bytes = update_bytes
        self._line_bytes_s = line_bytes_s
        self._free = processes
        self._take_in_s = take_in_s
        self._now = 0.0
        self._unsent: dict[int, float] = {}
        self._queue: deque[int] = deque()
        self._taking: list[tuple[float, int]] = []
        self._num_taken = 0
        self._sent_s: dict[int, float] = {}
        self._byte_seconds = 0.0
        self._most_bytes = 0.0
        self._most_at_once = 0

    def run(self) -> Course:
        """Carry it out to its end."""
        coming = deque(sorted(range(len(self._uploads)), key=lambda number: self._uploads[number].ready_s))
        while self._num_taken < len(self._uploads):
            while coming and self._uploads[coming[0]].ready_s <= self._now:
                self._flow.wait(str(coming.popleft()))
            for order_id in self._flow.give(self._now):
                self._unsent[int(order_id)] = self._update_bytes
            self._note()
            rates = shares({number: self._uploads[number].line_bytes_s for number in self._unsent}, self._line_bytes_s)
            ends = [self._now + left / rates[number] for number, left in self._unsent.items()]
            ends += [end for end, _ in self._taking[:1]] + [
                self._uploads[number].ready_s for number in list(coming)[:1]
            ]
            self._go_on(min(ends, default=self._next_tick()), rates)
            self._note()
            self._take_in()
        return Course(self._sent_s, self._now, self._most_bytes, self._byte_seconds / self._now, self._most_at_once)

    def _next_tick(self) -> float:
        return (self._now // TICK_S + 1) * TICK_S

    def _bytes(self) -> float:
        """Return the bytes of updates that are in the broker now."""
        whole = len(self._queue) + len(self._taking)
        return whole * self._update_bytes + sum(self._update_bytes - left for left in self._unsent.values())

    def _note(self) -> None:
        self._most_bytes = max(self._most_bytes, self._bytes())
        self._most_at_once = max(self._most_at_once, len(self._unsent) + len(self._queue) + len(self._taking))

    def _go_on(self, until: float, rates: Mapping[int, float]) -> None:
        """Let time pass until something happens, another turn may be given, or the next tick."""
        before, start = self._bytes(), self._now
        self._now = max(min(until, self._flow.next_change(self._now), self._next_tick()), self._now)
        for number, rate in rates.items():
            self._unsent[number] -= rate * (self._now - start)
        self._byte_seconds += (before + self._bytes()) / 2 * (self._now - start)
        for number in [number for number, left in self._unsent.items() if left < _DONE * self._update_bytes]:
            del self._unsent[number]
            self._sent_s[number] = self._now
            self._flow.answered(str(number), f"part-{number}", self._now)
            self._queue.append(number)

    def _take_in(self) -> None:
        """End what was taken in, and begin with what waits, as there are processes."""
        while self._taking and self._taking[0][0] <= self._now:
            _, number = heapq.heappop(self._taking)
            self._flow.taken_in(f"part-{number}")
            self._num_taken += 1
            self._free += 1
        while self._queue and self._free:
            heapq.heappush(self._taking, (self._now + self._take_in_s, self._queue.popleft()))
            self._free -= 1
