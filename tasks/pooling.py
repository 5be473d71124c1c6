"""Pooling what clients tell of their columns into what is so over all of them. Pure.

Means and variances are exact but for rounding: they are combined in float64 by the formula of Chan, Golub and LeVeque
(1979, "Updating formulae and a pairwise algorithm for computing sample variances", equation 2.1). Histograms are exact
where no client merged cells. The values of a merged bin are spread over its cells as a normal distribution of the
pooled mean and variance is; between which edges a quantile lies is told regardless of that.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from tasks.orders.statistics import Groups, Numbers

WIDTH_DEVIATIONS = 3.0
"""Standard deviations on both sides of the mean that a histogram's edges span where nobody gives any."""
TINY = 1e-9
"""Added to each cell's share, so that a bin far from the mean can be spread, too."""
ROUNDING = 1e-6
"""Values by which sums of spread counts may be off."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


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
    """Values of merged bins, which are spread over its cells as a normal distribution is."""


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
    variance = squares / (count - 1) if count > 1 else None
    histogram, quantiles = None, []
    if edges is not None and (bins := _bins(columns, len(edges) + 1)):
        counts = _cell_counts(bins, edges, mean, variance)
        num_spread = sum(values for (start, end), values in bins.items() if end - start > 1)
        shown = tuple(round(values, 3) for values in counts)
        histogram = Histogram(edges=tuple(edges), counts=shown, num_spread=num_spread)
        quantiles = [_quantile(share, bins, edges, counts) for share in shares]
    return NumbersSummary(
        num_clients=len(columns),
        count=count,
        missing=sum(column.missing for column in columns),
        mean=mean,
        variance=variance,
        histogram=histogram,
        quantiles=tuple(quantiles),
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


_Bins = Mapping[tuple[int, int], int]
"""(First cell, the cell after the last) -> values."""


def _bins(columns: Iterable[Numbers], num_cells: int) -> _Bins:
    found: Counter[tuple[int, int]] = Counter()
    for bins in (column.bins for column in columns if column.bins is not None):
        for start, end, count in zip(bins.starts, (*bins.starts[1:], num_cells), bins.counts, strict=True):
            found[start, end] += count
    return found


def _cell_counts(bins: _Bins, edges: Sequence[float], mean: float, variance: float | None) -> list[float]:
    """Return how many values lie in each cell, those of merged bins by the normal distribution."""
    counts, weights = np.zeros(len(edges) + 1), _normal(edges, mean, variance)
    for (start, end), count in bins.items():
        if end - start == 1:
            counts[start] += count
        else:
            counts[start:end] += count * weights[start:end] / weights[start:end].sum()
    return [float(count) for count in counts]


def _normal(edges: Sequence[float], mean: float, variance: float | None) -> npt.NDArray[np.float64]:
    """Return the share of a normal distribution in each cell."""
    scale = math.sqrt(2 * variance) if variance else 1.0
    below = [0.0, *(0.5 + 0.5 * math.erf((edge - mean) / scale) for edge in edges), 1.0]
    return np.diff(below) + TINY


def _quantile(share: float, bins: _Bins, edges: Sequence[float], counts: Sequence[float]) -> Quantile:
    rank = max(1, math.ceil(Fraction(str(share)) * sum(bins.values())))
    surely_below = [sum(count for (_, end), count in bins.items() if end <= index + 1) for index in range(len(edges))]
    perhaps_below = [sum(count for (start, _), count in bins.items() if start <= index) for index in range(len(edges))]
    first_perhaps, first_surely = bisect.bisect_left(perhaps_below, rank), bisect.bisect_left(surely_below, rank)
    low = edges[first_perhaps - 1] if first_perhaps > 0 else None
    high = edges[first_surely] if first_surely < len(edges) else None
    return Quantile(share=share, value=_interpolated(rank, edges, counts), low=low, high=high)


def _interpolated(rank: int, edges: Sequence[float], counts: Sequence[float]) -> float | None:
    below = list(itertools.accumulate(counts))
    cell = bisect.bisect_left(below, rank - ROUNDING)
    if not 0 < cell < len(edges):
        return None
    share = (rank - (below[cell] - counts[cell])) / counts[cell]
    return edges[cell - 1] + min(1.0, max(0.0, share)) * (edges[cell] - edges[cell - 1])
