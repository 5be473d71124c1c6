from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.uploads import Course, Simulation, Upload, shares
from orchestrator.flow import Flow, slow_after_s, slow_updates_at_a_time, updates_at_a_time


def simulate(uploads: list[Upload], flow: Flow, size: float = 10.0, line: float = 100.0, **more: float) -> Course:
    """Updates of 10 bytes over the broker's line of 100 bytes a second, taken in by two processes in no time."""
    return Simulation(uploads, flow, size, line, processes=2, take_in_s=more.get("take_in_s", 0.0)).run()


@given(lines=st.lists(st.floats(0.1, 100), min_size=1, max_size=20), capacity=st.floats(1, 500))
def test_shares_are_fair_and_nothing_is_left_that_somebody_could_use(lines: list[float], capacity: float) -> None:
    given_ = shares(dict(enumerate(lines)), capacity)
    assert sum(given_.values()) == pytest.approx(min(capacity, sum(lines)))
    most = max(given_.values())
    for number, line in enumerate(lines):
        # Who gets less than another gets all that the line carries
        assert given_[number] == pytest.approx(line) or given_[number] == pytest.approx(most)
        assert given_[number] <= line * (1 + 1e-9)


def test_one_update_takes_as_long_as_its_line_and_taking_in() -> None:
    course = simulate([Upload(3.0, 5.0)], Flow(1), take_in_s=0.25)
    assert course.sent_s == {0: 5.0}
    assert course.over_s == 5.25
    assert course.most_bytes == 10.0
    # Two seconds in which it grows, and a quarter in which it is all there
    assert course.mean_bytes == pytest.approx((2 * 5 + 0.25 * 10) / 5.25)


def test_updates_share_the_brokers_line() -> None:
    # Given two updates of 100 bytes at once, on lines that are wider than half of the broker's
    course = simulate([Upload(0.0, 80.0), Upload(0.0, 80.0)], Flow(2), size=100.0)
    assert course.over_s == pytest.approx(2.0)
    assert course.most_at_once == 2


def test_one_after_the_other_where_one_is_allowed() -> None:
    course = simulate([Upload(0.0, 5.0)] * 4, Flow(1))
    assert course.over_s == pytest.approx(8.0)
    assert (course.most_at_once, course.most_bytes) == (1, 10.0)
    assert [course.num_sent_by(when) for when in (1.9, 2.1, 8.1)] == [0, 1, 4]


def test_slow_lines_go_beside_each_other_up_to_what_is_allowed() -> None:
    # Given updates of ten seconds each, of which another may go each second, five at the most
    course = simulate([Upload(0.0, 1.0)] * 10, Flow(1, most=5, slow_s=1.0))
    assert course.most_at_once == 5
    # Then the last of the first five is there after 4 + 10 seconds, and that of the others ten later
    assert course.over_s == pytest.approx(24.0)
    assert course.most_bytes < 5 * 10


@pytest.mark.parametrize("line_bytes_s", [1.25e6, 12.5e6, 125e6])
def test_a_thousand_updates_stay_within_the_memory_that_is_allowed(line_bytes_s: float) -> None:
    # Given a thousand clients, 4 MB and the default of 64 MB, when all are ready at once
    allowed = 64e6, 4_000_000
    flow = Flow(updates_at_a_time(*allowed), slow_updates_at_a_time(*allowed), slow_after_s(*allowed))
    course = simulate([Upload(0.0, line_bytes_s)] * 1000, flow, size=4e6, line=125e6, take_in_s=0.01)
    # Then all come in, and the broker never has more than sixteen times that, nor the line anything to spare
    assert len(course.sent_s) == 1000
    assert course.most_bytes <= 16 * 64e6
    assert course.over_s >= 32.0


def test_a_hundred_lines_of_a_hundred_megabits_fill_one_of_a_gigabit() -> None:
    # Given 40 MB, of which two updates may be on their way, and lines of which it takes ten to fill the broker's
    allowed = 64e6, 40_000_000
    flow = Flow(updates_at_a_time(*allowed), slow_updates_at_a_time(*allowed), slow_after_s(*allowed))
    course = simulate([Upload(0.0, 12.5e6)] * 100, flow, size=40e6, line=125e6)
    # Then the line is busy for most of the time, as turns are given when lines turn out to be slow
    assert course.over_s < 1.15 * 100 * 40e6 / 125e6


@settings(deadline=None)
@given(
    uploads=st.lists(st.builds(Upload, st.floats(0, 5), st.floats(0.5, 50)), min_size=1, max_size=12),
    limit=st.integers(1, 4),
    slow_s=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_all_come_in_whatever_their_lines(uploads: list[Upload], limit: int, slow_s: float) -> None:
    course = simulate(uploads, Flow(limit, 3 * limit, slow_s), take_in_s=0.1)
    assert sorted(course.sent_s) == list(range(len(uploads)))
    assert course.most_at_once <= 3 * limit
    for number, upload in enumerate(uploads):
        assert course.sent_s[number] >= upload.ready_s + 10.0 / upload.line_bytes_s - 1e-6
    assert course.over_s >= max(course.sent_s.values())
