"""Pace: how much of a blob is asked for before it is read, so that a server needn't keep it for all who are slow.

A server that copies what it sends has two chunks in its memory for each client that has asked for them, however long
the client's line takes for them. Where thousands fetch a model at once, that is more than they send in the whole round.
Who asks for no more than comes in a moment leaves the server with what its own line takes a moment for, whatever the
number of clients. Pure: it is told when something comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tasks.blobs.blob import CHUNK_BYTES

FIRST_BYTES = 2**16
"""Bytes that are asked for when nothing is known of the line, and the least at any time."""
MOST_BYTES = 2 * CHUNK_BYTES
"""Bytes that are asked for ahead on a line that is quick: on a long one too they follow each other."""
WAITS_S = 0.25
"""Seconds that what was asked for may wait for what was asked for before it."""
LONGEST_S = 0.7
"""Seconds that the longest lines take there and back, those by satellites: what takes longer waits."""


class Pace:
    """The pace of one blob: twice as much is asked for ahead as long as it doesn't come later for that.

    Args:
        clock: Seconds that only go up.
        first_bytes: How much may be asked for when nothing is known of the line.
    """

    def __init__(self, clock: Callable[[], float], first_bytes: int = FIRST_BYTES) -> None:
        self._clock = clock
        self._ahead = first_bytes
        self._least_s = LONGEST_S
        """The shortest time in which anything came: what the line takes there and back."""
        self._asked: deque[tuple[int, float]] = deque()
        """How much was asked for that hasn't come, and when."""

    @property
    def num_asked(self) -> int:
        """Bytes that were asked for and haven't come."""
        return sum(num_bytes for num_bytes, _ in self._asked)

    def next_bytes(self, left: int) -> int:
        """Return how much to ask for now of a chunk of which this much is left; 0: nothing yet."""
        size = min(left, max(FIRST_BYTES, self._ahead // 2))
        return size if not self._asked or self.num_asked + size <= self._ahead else 0

    def asked(self, num_bytes: int) -> None:
        """Note that something is asked for."""
        self._asked.append((num_bytes, self._clock()))

    def came(self) -> None:
        """Note that what was asked for first has come, and learn from how long that took."""
        num_bytes, since = self._asked.popleft()
        took_s = self._clock() - since
        self._least_s = min(self._least_s, took_s)
        waited_s = took_s - self._least_s
        if waited_s > WAITS_S:
            self._ahead = max(FIRST_BYTES, self._ahead // 2)
        elif waited_s <= WAITS_S / 2 and 2 * num_bytes >= self._ahead:  # else there was less ahead of it than is now
            self._ahead = min(MOST_BYTES, 2 * self._ahead)

    def begin_anew(self) -> None:
        """Note that what was asked for won't come."""
        self._asked.clear()
