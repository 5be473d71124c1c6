"""Pooling what clients tell of their columns into what is so over all of them. Pure.

Means and variances are exact but for rounding: they are combined in float64 by the formula of Chan, Golub and LeVeque
(1979, "Updating formulae and a pairwise algorithm for computing sample variances", equation 2.1). Histograms are exact
where no client merged cells. The values of a bin of several cells are spread evenly over these; between which edges a
quantile lies is told regardless of that.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.orders.statistics import Groups, Numbers

WIDTH_DEVIATIONS = 3.0
"""Standard deviations on both sides of the mean that a histogram's edges span where nobody gives any."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Quantile(_Record):
    """A quantile: the smallest value that at least this share of all values doesn't exceed."""

    share: float
    value: float | None
    """Interpolated inside its cell; None if that is below the first edge or above the last."""
    low: float | None
    """The quantile is surely no less; None: not known."""
    high: float | None
    """It is surely no more; None: not known. Without merged cells, ``low`` and ``high`` are neighbouring edges."""


class Histogram(_Record):
    """Numbers of values in cells: below the first edge, between each two, above the last."""

    edges: tuple[float, ...]
    counts: tuple[float, ...]
    """Whole numbers where nothing was merged."""
    num_spread: int
    """Values that are spread evenly over the cells of a merged bin."""


class NumbersSummary(_Record):
    """A column of numbers."""

    kind: Literal["numbers"] = "numbers"
    num_clients: int
    count: int
    missing: int
    mean: float
    variance: float | None
    """Of the sample: divided by ``count - 1``; None of a single value."""
    histogram: Histogram | None = None
    quantiles: tuple[Quantile, ...] = ()


class GroupsSummary(_Record):
    """A column of names."""

    kind: Literal["groups"] = "groups"
    num_clients: int
    count: int
    missing: int
    groups: Mapping[str, int]
    """Values of each name, the most frequent first."""
    other: int
    """Values of names that a client had too few of to tell."""


def pool_numbers(
    columns: Sequence[Numbers], edges: Sequence[float] | None = None, shares: Iterable[float] = ()
) -> NumbersSummary:
    """Return what is so over all of some clients.

    Args:
        columns: What each of them told, at least one of them.
        edges: Those of their histograms.
        shares: Which quantiles to tell of: shares from 0 to 1.
    """
    count, mean, squares = 0, 0.0, 0.0
    for column in columns:
        total = count + column.count
        if total:
            delta = column.mean - mean
            squares += column.squares + delta * delta * (count / total) * column.count
            mean += delta * (column.count / total)
            count = total
    bins = [] if edges is None else [bin_ for column in columns for bin_ in _bins(column, len(edges) + 1)]
    return NumbersSummary(
        num_clients=len(columns),
        count=count,
        missing=sum(column.missing for column in columns),
        mean=mean,
        variance=squares / (count - 1) if count > 1 else None,
        histogram=_histogram(bins, edges) if edges is not None and bins else None,
        quantiles=tuple(_quantile(share, bins, edges) for share in shares) if edges is not None and bins else (),
    )


def pool_groups(columns: Sequence[Groups]) -> GroupsSummary:
    """Return what is so over all of some clients; see :func:`pool_numbers`."""
    groups: Counter[str] = Counter()
    for column in columns:
        groups.update(column.groups)
    return GroupsSummary(
        num_clients=len(columns),
        count=sum(column.count for column in columns),
        missing=sum(column.missing for column in columns),
        groups=dict(sorted(groups.items(), key=lambda group: (-group[1], group[0]))),
        other=sum(column.other for column in columns),
    )


def edges_around(mean: float, variance: float | None, num_bins: int) -> tuple[float, ...]:
    """Return the edges of ``num_bins`` cells of one width, ``WIDTH_DEVIATIONS`` on both sides of the mean.

    They are rounded to a hundredth of a cell's width. No value shows in them but by mean and variance.
    """
    # Of values that are all equal, and beside a mean at which smaller steps are lost to rounding, they are wider.
    reach = max(WIDTH_DEVIATIONS * math.sqrt(variance or 0.0) or 0.5, abs(mean) * 1e-9)
    width = 2 * reach / num_bins
    digits = 2 - math.floor(math.log10(width))
    return tuple(round(mean - reach + index * width, digits) for index in range(num_bins + 1))


_Bin = tuple[int, int, int]
"""First cell, the cell after the last, values."""


def _bins(column: Numbers, num_cells: int) -> list[_Bin]:
    if column.bins is None:
        return []
    ends = (*column.bins.starts[1:], num_cells)
    return list(zip(column.bins.starts, ends, column.bins.counts, strict=True))


def _histogram(bins: Sequence[_Bin], edges: Sequence[float]) -> Histogram:
    counts = [Fraction(0)] * (len(edges) + 1)
    for start, end, count in bins:
        for cell in range(start, end):
            counts[cell] += Fraction(count, end - start)
    num_spread = sum(count for start, end, count in bins if end - start > 1)
    return Histogram(edges=tuple(edges), counts=tuple(map(float, counts)), num_spread=num_spread)


def _quantile(share: float, bins: Sequence[_Bin], edges: Sequence[float]) -> Quantile:
    total = sum(count for *_, count in bins)
    rank = max(1, math.ceil(Fraction(str(share)) * total))
    surely_below = [sum(count for _, end, count in bins if end <= index + 1) for index in range(len(edges))]
    perhaps_below = [sum(count for start, _, count in bins if start <= index) for index in range(len(edges))]
    first_over, first_perhaps = bisect.bisect_left(surely_below, rank), bisect.bisect_left(perhaps_below, rank)
    low = edges[first_perhaps - 1] if first_perhaps > 0 else None
    high = edges[first_over] if first_over < len(edges) else None
    return Quantile(share=share, value=_interpolated(rank, bins, edges), low=low, high=high)


def _interpolated(rank: int, bins: Sequence[_Bin], edges: Sequence[float]) -> float | None:
    counts = _histogram(bins, edges).counts
    below = list(itertools.accumulate(counts))
    cell = min(bisect.bisect_left(below, rank - 1e-6), len(edges))
    if not 0 < cell < len(edges):
        return None
    in_cell = (rank - (below[cell] - counts[cell])) / counts[cell]
    return edges[cell - 1] + min(1.0, max(0.0, in_cell)) * (edges[cell] - edges[cell - 1])
