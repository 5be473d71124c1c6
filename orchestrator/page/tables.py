"""What a reader asks of a table: a filter, an order, and no more rows than can be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

MAX_ROWS = 200
"""Rows that are shown at a time; a filter finds the others."""
R = TypeVar("R")
Key = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Table(Generic[R]):
    """Rows that are shown.

    Attributes:
        rows: Those rows.
        num_found: How many the filter has found.
        num_all: How many there are.
        sort: By what they are sorted; with ``-`` before it the greatest comes first.
    """

    rows: Sequence[R]
    num_found: int
    num_all: int
    sort: str

    def toggled(self, name: str) -> str:
        """Return by what to sort when the head of a column is chosen: the other way round if it was before."""
        return f"-{name}" if self.sort == name else name

    def direction(self, name: str) -> str:
        """Return which way a column is sorted, in the words of ``aria-sort``."""
        return {name: "ascending", f"-{name}": "descending"}.get(self.sort, "none")


def table_of(
    rows: Sequence[R], keeps: Callable[[R], bool], keys: Mapping[str, Key], sort: str, most: int = MAX_ROWS
) -> Table[R]:
    """Return the rows that a filter keeps, in order; in that of the first key if there is no such key as asked for."""
    name = sort.removeprefix("-")
    if name not in keys:
        sort = name = next(iter(keys))
    found = sorted(filter(keeps, rows), key=keys[name], reverse=sort.startswith("-"))
    return Table(found[:most], len(found), len(rows), sort)
