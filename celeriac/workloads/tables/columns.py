"""What a column holds: numbers, or names that are counted. Each client finds out by itself, and all by one rule."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from celeriac.workloads.tables.rows import MAX_NAME, Rows
from tasks.orders.statistics import LARGEST
from tasks.readable import readable

MOST_NUMBERS = 0.9
"""From this share of numbers on, a cell that is none is a mistake rather than a name."""
_WHOLE = re.compile(r"(-?\d+)\.0+")
_DECIMAL_COMMA = re.compile(r"-?\d+(,\d+)+")
Floats = npt.NDArray[np.float64]


def number_of(cell: str) -> float | None:
    """Return a cell's number, NaN if it is infinite, which counts as missing; None if it is none, or over 1e100."""
    try:
        number = float(cell)
    except ValueError:
        return None
    if math.isinf(number):
        return math.nan
    return None if "_" in cell or abs(number) > LARGEST else number


def numbers_of(rows: Rows, name: str, hint: str) -> Floats:
    """Return a column's numbers, NaN where missing; shape ``(n,)``.

    Args:
        rows: The rows.
        name: The column.
        hint: What is allowed, for the message.

    Raises:
        DataMissingError: If there is no such column, or a cell is no number.
    """
    found = np.full(len(rows), np.nan)
    for index, cell in enumerate(rows.column(name)):
        if cell is not None:
            number = number_of(cell)
            if number is None:
                comma = " (these have a point, like 1.5)" if _DECIMAL_COMMA.fullmatch(cell) else ""
                raise rows.wrong(index, name, f"is no number of up to {LARGEST:g}{comma}: {hint}")
            found[index] = number
    return found


def names_of(rows: Rows, name: str) -> list[str | None]:
    """Return a column's names as :func:`one_name` writes them, None where missing.

    Raises:
        DataMissingError: If there is no such column.
    """
    return [None if cell is None else one_name(cell) for cell in rows.column(name)]


def one_name(cell: str) -> str:
    """Return the one way to write a name: ``true`` for ``TRUE``, ``1`` for ``1.0``."""
    if cell.lower() in ("true", "false"):
        return cell.lower()
    whole = _WHOLE.fullmatch(cell)
    return whole[1] if whole else str(readable(" ".join(cell.split())))[:MAX_NAME].rstrip()


def holds_numbers(rows: Rows, name: str) -> bool:
    """Say whether a column holds numbers: all that isn't missing is one. A column without values holds numbers.

    Raises:
        DataMissingError: If nearly all are numbers, or would be with a decimal point.
    """
    present = [cell for cell in rows.column(name) if cell is not None]
    are_numbers = [number_of(cell) is not None for cell in present]
    if all(are_numbers):
        return True
    with_point = [number_of(cell) is not None or bool(_DECIMAL_COMMA.fullmatch(cell)) for cell in present]
    if sum(are_numbers) >= MOST_NUMBERS * len(present) or all(with_point):
        hint = "mend it, leave it empty, or have it be a name by categories="
        numbers_of(rows, name, f"{hint}{name}, as {sum(are_numbers):,} of the column's {len(present):,} values are one")
    return False


def are_two_classes(values: Floats) -> bool:
    """Say whether a target of numbers is one of classes: of 0 and 1 alone."""
    return bool(np.isin(values[~np.isnan(values)], (0.0, 1.0)).all())


def in_order(classes: Sequence[str]) -> tuple[str, ...]:
    """Return classes in ascending order: of their numbers, if all have one."""
    numbers = {name: number_of(name) for name in classes}
    if all(number is not None for number in numbers.values()):
        return tuple(sorted(classes, key=lambda name: numbers[name] or 0.0))
    return tuple(sorted(classes))
