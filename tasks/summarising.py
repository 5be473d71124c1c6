"""What a client tells of its columns: nothing of fewer values than the minimum. Pure.

Bins and groups of fewer values are merged here, before anything leaves. Every count that is told, of a bin, a group,
the others or a column, is at least the minimum; told as they are only the number of missing values, and that nobody
lies outside a histogram's edges.
"""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.orders.statistics import MAX_GROUPS, Bins, Groups, Numbers
from tasks.user_code import UserCodeError

Floats = npt.NDArray[np.float64]
_MISSING_TYPES = ("NAType", "NaTType")
"""What pandas calls the types of its missing values."""


def tell(
    returned: object, least: int, names: Sequence[str] = (), edges: Mapping[str, Sequence[float]] | None = None
) -> dict[str, object]:
    """Return what a client answers of its columns beside its status: fields of a ``StatisticsResponse``.

    Args:
        returned: What the workload's ``columns()`` returned.
        least: The fewest values to tell of.
        names: The columns that are asked for; empty: all.
        edges: Those of histograms, by column.

    Raises:
        UserCodeError: If that isn't columns of one length.
    """
    table = _checked(returned)
    if max(map(len, table.values()), default=0) < least:
        return {"min_count": least, "known": tuple(table), "reason": f"it has fewer than {least} rows"}
    asked = [name for name in names or table if name in table]
    found = {name: summarise(table[name], (edges or {}).get(name), least) for name in asked}
    return {
        "min_count": least,
        "known": tuple(table),
        "columns": {name: column for name, column in found.items() if column is not None},
        "withheld": tuple(name for name, column in found.items() if column is None),
    }


def summarise(values: Any, edges: Sequence[float] | None, least: int) -> Numbers | Groups | None:
    """Return what is told of a column; None if it has fewer than ``least`` values.

    Args:
        values: The column, shape ``(n,)``: numbers, or names. None, NaN, masked and infinite values are missing.
        edges: A histogram's, for numbers; None for no histogram.
        least: The fewest values to tell of.
    """
    present, missing = _split(values)
    if len(present) < least:
        return None
    if not isinstance(present, np.ndarray):
        groups, other = merge_groups(Counter(present), least)
        return Groups(count=len(present), missing=missing, groups=groups, other=other)
    mean = float(present.mean())
    deviations = present - mean
    # The second term is what rounding has made of the mean (Chan, Golub and LeVeque 1983, equation 1.7).
    squares = max(0.0, float(np.square(deviations).sum() - deviations.sum() ** 2 / len(present)))
    bins = None if edges is None else merge_cells(count_cells(present, edges), least)
    return Numbers(count=len(present), missing=missing, mean=mean, squares=squares, bins=bins)


def count_cells(present: Floats, edges: Sequence[float]) -> list[int]:
    """Return how many values lie in each cell of :mod:`tasks.orders.statistics`."""
    cells = np.searchsorted(edges, present, side="right")
    cells[present == edges[-1]] = len(edges) - 1
    return [int(count) for count in np.bincount(cells, minlength=len(edges) + 1)]


def merge_cells(counts: Sequence[int], least: int) -> Bins:
    """Merge neighbouring cells until each bin has ``least`` values; all together have at least as many.

    An empty cell is merged, too, unless ``least`` is 1: of many narrow ones, those behind the last value would tell
    that. Only that nobody lies below the first edge, or above the last, is told.
    """
    if least == 1:
        return Bins(starts=tuple(range(len(counts))), counts=tuple(counts))
    first, end = int(counts[0] == 0), len(counts) - int(counts[-1] == 0)
    starts: list[int] = []
    sums: list[int] = []
    for cell in range(first, end):
        if sums and sums[-1] < least:
            sums[-1] += counts[cell]
        else:
            starts.append(cell)
            sums.append(counts[cell])
    if len(sums) > 1 and sums[-1] < least:
        starts.pop()
        sums[-2:] = [sum(sums[-2:])]
    below, above = ([0] if first else []), ([end] if end < len(counts) else [])
    return Bins(starts=(*below, *starts, *above), counts=(*(0 for _ in below), *sums, *(0 for _ in above)))


def merge_groups(counts: Mapping[str, int], least: int) -> tuple[dict[str, int], int]:
    """Return the groups of at least ``least`` values, and how many the others have: that many too, or none."""
    kept = sorted(counts.items(), key=lambda group: (-group[1], group[0]))
    other = 0
    while kept and (kept[-1][1] < least or 0 < other < least or len(kept) > MAX_GROUPS):
        other += kept.pop()[1]
    return dict(kept), other


def _split(values: Any) -> tuple[Floats | list[str], int]:
    """Return the values that aren't missing, numbers or names, and how many are."""
    array = np.ma.asarray(values)
    if array.dtype.kind in "iuf":
        numeric = np.ma.filled(array.astype(np.float64), np.nan)
        present = numeric[np.isfinite(numeric)]
        return present, len(numeric) - len(present)
    hidden = np.ma.getmaskarray(array)
    there = [value for value in np.ma.getdata(array).astype(object)[~hidden] if not _is_missing(value)]
    if there and all(isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool) for value in there):
        floats, missing = _split(np.array(there, dtype=np.float64))
        return floats, missing + len(array) - len(there)
    return [str(value)[:100] for value in there], len(array) - len(there)


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in _MISSING_TYPES or (isinstance(value, float) and value != value)


def _checked(returned: object) -> dict[str, Any]:
    """Return what ``columns()`` returned if it is columns of one length."""
    if not (isinstance(returned, Mapping) or hasattr(returned, "items")):
        raise UserCodeError(f"columns() returned {type(returned).__name__}: a dict of arrays by name is needed")
    table = {str(name): values for name, values in returned.items()}  # a pandas DataFrame has items, too
    shapes = {name: np.shape(values) for name, values in table.items()}
    for name, shape in shapes.items():
        if len(shape) != 1 or shape != next(iter(shapes.values())):
            raise UserCodeError(f"columns() returned {name!r} of shape {shape}: one value a row is needed")
    return table
