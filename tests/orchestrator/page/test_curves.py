"""Curves: no more points than are seen, and marks at round numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.page.curves import MAX_POINTS, chart_of, thinned

VALUES = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30)


def test_of_many_points_the_extremes_are_kept() -> None:
    # Given a long curve with one peak and one dip
    values = [math.sin(number / 500) for number in range(10_000)]
    values[1234], values[8765] = 9.0, -9.0
    # When it is thinned, then these are there, and the ends, in order
    kept = thinned(list(enumerate(values)))
    assert len(kept) <= MAX_POINTS
    assert kept[0][0] == 0
    assert kept[-1][0] == 9999
    assert {(1234, 9.0), (8765, -9.0)} <= set(kept)
    assert [number for number, _ in kept] == sorted(number for number, _ in kept)


def test_a_curve_of_few_points_is_drawn_as_it_is() -> None:
    # Given two points, when they are drawn, then they are at the ends, with a margin above and below
    chart = chart_of("loss", {"held-out data": [(0, 1.0), (10, 0.0)]}, {"held-out data": 1})
    (line,) = chart.lines
    assert line.path == "M0 536L10000 9464"
    assert (line.last, line.last_round, line.is_dot) == ("0.0000", 10, False)
    assert [tick.text for tick in chart.x_ticks] == ["0", "2", "4", "6", "8", "10"]
    assert [tick.text for tick in chart.y_ticks] == ["0.00", "0.25", "0.50", "0.75", "1.00"]


def test_a_single_point_is_a_dot() -> None:
    chart = chart_of("loss", {"a": [(3, 0.5)], "b": []}, {"a": 1, "b": 2})
    assert [(line.name, line.is_dot) for line in chart.lines] == [("a", True)]
    assert [tick.text for tick in chart.x_ticks] == ["3"]


@given(VALUES)
def test_whatever_the_values_they_are_drawn(values: list[float]) -> None:
    chart = chart_of("m", {"a": list(enumerate(values))}, {"a": 1})
    assert len(chart.lines) == 1
    assert len(chart.y_ticks) < 20
    assert "nan" not in chart.lines[0].path
    assert "inf" not in chart.lines[0].path


@pytest.mark.parametrize("value", [0.0, -3.0, 2.4128, 0.0223, 1e300])
def test_a_flat_curve_has_a_scale(value: float) -> None:
    chart = chart_of("m", {"a": [(0, value), (1, value)]}, {"a": 1})
    assert chart.y[0] < value < chart.y[1]
    told = [tick.text for tick in chart.y_ticks]
    assert 2 <= len(told) == len(set(told))
