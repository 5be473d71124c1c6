"""Curves as paths of an SVG: their scale, ticks and points, of which there are no more than can be seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks.metrics import digits

MAX_POINTS = 400
"""Points of a curve that are drawn; of more the least and the greatest of each stretch are."""
SIZE = 10_000
"""Width and height of a chart in its own units."""
_MARGIN = 0.06
_LEAST_SPREAD = 1e-9
_GREATEST = 1e300
"""Values beyond it are drawn as if they were this: their differences are to be numbers."""
_NUM_TICKS = 5
Points = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: where it is, as a share from 0 to 1, and what it says."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A curve to draw.

    Attributes:
        name: What it is of.
        style: Which of the styles it is drawn in, from 1 on.
        path: The SVG path.
        is_dot: Whether it is a single point.
        last: Its last value in words.
        last_round: The round of it.
    """

    name: str
    style: int
    path: str
    is_dot: bool
    last: str
    last_round: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over each other.

    Attributes:
        title: The metric.
        lines: The curves.
        x_ticks: Marks of the rounds.
        y_ticks: Marks of the values.
        x: The first and the last round.
        y: The value at the bottom and at the top.
    """

    title: str
    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    x: tuple[float, float]
    y: tuple[float, float]


def chart_of(title: str, curves: Mapping[str, Points], styles: Mapping[str, int]) -> Chart:
    """Return a chart of curves that aren't empty.

    Args:
        title: The metric.
        curves: Name of a curve -> its points, by round.
        styles: Name of a curve -> which of the styles it has.
    """
    drawn = {name: [(n, _clipped(value)) for n, value in thinned(points)] for name, points in curves.items() if points}
    x = _range(number for points in drawn.values() for number, _ in points)
    y = _padded(*_range(value for points in drawn.values() for _, value in points))
    lines = [_line(name, styles[name], points, x, y) for name, points in drawn.items()]
    return Chart(title, lines, _ticks(*x, whole=True), _ticks(*y), x, y)


def thinned(points: Points, most: int = MAX_POINTS) -> Points:
    """Return a curve's points; of many the first, the least, the greatest and the last of each stretch."""
    if len(points) <= most:
        return points
    length = math.ceil(len(points) / (most / 4))
    kept: dict[int, tuple[int, float]] = {}
    for start in range(0, len(points), length):
        stretch = range(start, min(start + length, len(points)))
        least = min(stretch, key=lambda index: points[index][1])
        greatest = max(stretch, key=lambda index: points[index][1])
        for index in sorted({stretch[0], least, greatest, stretch[-1]}):
            kept[index] = points[index]
    return list(kept.values())


def _line(name: str, style: int, points: Points, x: tuple[float, float], y: tuple[float, float]) -> Line:
    steps = [f"{_at(number, x) * SIZE:.0f} {(1 - _at(value, y)) * SIZE:.0f}" for number, value in points]
    path = f"M{'L'.join(steps)}" if len(steps) > 1 else f"M{steps[0]}h0"
    return Line(name, style, path, len(steps) == 1, digits(points[-1][1]), points[-1][0])


def _clipped(value: float) -> float:
    return max(-_GREATEST, min(_GREATEST, value))


def _range(values: Iterable[float]) -> tuple[float, float]:
    found = list(values)
    return (min(found), max(found)) if found else (0.0, 1.0)


def _padded(least: float, most: float) -> tuple[float, float]:
    is_flat = most <= least
    margin = (abs(most) or 1.0) * _MARGIN if is_flat else max((most - least) * _MARGIN, abs(most) * _LEAST_SPREAD)
    return least - max(margin, _LEAST_SPREAD), most + max(margin, _LEAST_SPREAD)


def _at(value: float, ends: tuple[float, float]) -> float:
    least, most = ends
    return (value - least) / (most - least) if most > least else 0.5


def _ticks(least: float, most: float, *, whole: bool = False) -> list[Tick]:
    """Return marks at round numbers; at whole ones alone where only these have a meaning."""
    if most <= least:
        return [Tick(0.5, _number(least, 1.0))]
    rough = (most - least) / _NUM_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    factors = (1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)
    step = next(power * factor for factor in factors if power * factor >= rough)
    step = max(step, 1.0) if whole else step
    first = math.ceil(least / step - 1e-9)
    last = math.floor(most / step + 1e-9)
    return [Tick(_at(index * step, (least, most)), _number(index * step, step)) for index in range(first, last + 1)]


def _number(value: float, step: float) -> str:
    if abs(value) >= 1e6 or 0 < step < 1e-4:
        return f"{value:.3g}"
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{places + (f'{step:.1e}'[2] != '0')}f}"
