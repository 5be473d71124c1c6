"""How much is asked for ahead, on lines of different speeds."""

from __future__ import annotations

from tasks.blobs.blob import CHUNK_BYTES
from tasks.blobs.pace import FIRST_BYTES, MOST_BYTES, WAITS_S, Pace

KIB = 1024


class Line:
    """A line of so many bytes a second, and so many seconds there and back, by which chunks are fetched at a pace."""

    def __init__(self, bytes_s: float, delay_s: float) -> None:
        self.now = 0.0
        self.pace = Pace(lambda: self.now)
        self._bytes_s, self._delay_s = bytes_s, delay_s
        self._busy_until = 0.0

    def fetch(self, num_chunks: int) -> list[int]:
        """Fetch chunks; return how much was asked for and not there, each time that something came."""
        left, asked, outstanding = [CHUNK_BYTES] * num_chunks, list[tuple[int, float]](), list[int]()
        while left or asked:
            while left and (size := self.pace.next_bytes(left[0])):
                self.pace.asked(size)
                self._busy_until = max(self._busy_until, self.now + self._delay_s) + size / self._bytes_s
                asked.append((size, self._busy_until))
                left[0] -= size
                left = left if left[0] else left[1:]
            outstanding.append(self.pace.num_asked)
            _, self.now = asked.pop(0)
            self.pace.came()
        return outstanding


def test_on_a_slow_line_what_comes_in_a_moment_is_asked_for() -> None:
    # Given a line of ten megabits a second, when chunks are fetched
    line = Line(1.25e6, 0.02)
    outstanding = line.fetch(20)
    # Then the server never has more than half a second's, and the first time less
    assert outstanding[0] == FIRST_BYTES
    assert max(outstanding) == 524_288 < 1.25e6 * 2 * WAITS_S
    # And the line is hardly ever idle
    assert line.now < 1.05 * (20 * CHUNK_BYTES / 1.25e6)


def test_however_slow_a_line_is_something_is_asked_for() -> None:
    # Given a line of a hundred kilobits a second, when a chunk is fetched, then it comes piece by piece
    assert set(Line(12_500, 0.5).fetch(1)) == {FIRST_BYTES}


def test_on_a_quick_line_whole_chunks_are_asked_for_though_it_is_long() -> None:
    # Given a line of a hundred megabits a second by a satellite, or one of a gigabit across an ocean
    for bytes_s, delay_s in ((12.5e6, 0.6), (125e6, 0.1)):
        outstanding = Line(bytes_s, delay_s).fetch(200)
        # When many chunks are fetched, then two are on their way after a few pieces
        assert outstanding[20:-2] == [MOST_BYTES] * len(outstanding[20:-2])
        assert len(outstanding) < 200 + 20


def test_of_many_on_the_servers_one_line_each_asks_for_little() -> None:
    # Given two thousand who fetch a chunk at once from a server whose line is of a gigabit a second
    line = Line(125e6 / 2000, 0.02)
    # When one of them does, then no more waits for it at a time than comes in half a second
    assert max(line.fetch(1)) == FIRST_BYTES


def test_who_is_quick_from_the_first_asks_for_two_chunks() -> None:
    # Given one that may ask for much when nothing is known of the line
    pace = Pace(lambda: 0.0, MOST_BYTES)
    # When it asks, then for whole chunks, and a third time when one of them has come, at whatever speed
    for size in (CHUNK_BYTES, CHUNK_BYTES, 0):
        assert pace.next_bytes(CHUNK_BYTES) == size
        pace.asked(size)
    pace.came()
    assert pace.next_bytes(100 * KIB) == 100 * KIB


def test_what_was_asked_for_on_a_connection_that_is_lost_is_asked_for_again() -> None:
    pace = Pace(lambda: 0.0)
    pace.asked(pace.next_bytes(CHUNK_BYTES))
    assert pace.next_bytes(CHUNK_BYTES) == 0
    pace.begin_anew()
    assert pace.next_bytes(CHUNK_BYTES) == FIRST_BYTES
