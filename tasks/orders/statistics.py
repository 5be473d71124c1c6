"""The order to tell statistics of the client's data, column by column.

A histogram's **cells** are what its edges ``e_0 < … < e_k`` cut the numbers into: below ``e_0``, from each edge up to
the next, the last of these with its upper edge, and above ``e_k``. A client merges neighbouring cells until each
**bin** has as many values as it may tell of.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.errors import MessageError
from tasks.messages import Count, Message, Order, Response
from tasks.readable import Readable

DEFAULT_MIN_COUNT = 10
MAX_COLUMNS = 1_000
MAX_EDGES = 1_001
MAX_GROUPS = 1_000
LARGEST = 1e100
"""The largest number that can be told of: sums of squares of as many as there may be are floats, too."""
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Name = Annotated[str, Readable, Field(max_length=100)]
"""A column's or a group's name, fit to be shown."""
Edges = Annotated[tuple[Number, ...], Field(min_length=2, max_length=MAX_EDGES)]


class Bins(Message):
    """A histogram as a client tells it: bins of one or several neighbouring cells."""

    starts: Annotated[tuple[Count, ...], Field(min_length=1, max_length=MAX_EDGES + 1)]
    """The first cell of each bin, from 0; it reaches to the next bin, or the last cell."""
    counts: tuple[Count, ...]
    """Values in each bin."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.starts[0] != 0 or any(a >= b for a, b in itertools.pairwise(self.starts)):
            raise ValueError("bins start at cell 0, one after the other")
        if len(self.starts) != len(self.counts):
            raise ValueError(f"{len(self.counts)} counts of {len(self.starts)} bins")
        return self


class Numbers(Message):
    """A column of numbers at one client."""

    kind: Literal["numbers"] = "numbers"
    count: Count
    """Values that aren't missing."""
    missing: Count
    mean: Number
    squares: Annotated[float, Field(ge=0, le=LARGEST**2)]
    """Sum of the squared deviations from the mean."""
    bins: Bins | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.bins is not None and sum(self.bins.counts) != self.count:
            raise ValueError(f"{sum(self.bins.counts)} values in bins, of {self.count}")
        return self


class Groups(Message):
    """A column of names at one client."""

    kind: Literal["groups"] = "groups"
    count: Count
    missing: Count
    groups: Annotated[Mapping[Name, Count], Field(max_length=MAX_GROUPS)]
    """Values of each name."""
    other: Count
    """Values of names that aren't told."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (total := sum(self.groups.values()) + self.other) != self.count:
            raise ValueError(f"{total} values in groups, of {self.count}")
        return self


Column = Annotated[Numbers | Groups, Field(discriminator="kind")]


class StatisticsResponse(Response):
    """What a client tells of its columns."""

    min_count: Count
    """The least number of values that it tells of: the order's or its own, whichever is more."""
    known: Annotated[tuple[Name, ...], Field(max_length=MAX_COLUMNS)] = ()
    """The columns that its workload has."""
    columns: Annotated[Mapping[Name, Column], Field(max_length=MAX_COLUMNS)] = {}
    withheld: Annotated[tuple[Name, ...], Field(max_length=MAX_COLUMNS)] = ()
    """Columns with fewer values than it tells of."""


class StatisticsOrder(Order):
    """Tell statistics of columns."""

    name = "statistics"
    response = StatisticsResponse

    columns: tuple[str, ...] = ()
    """Which ones; empty: all that there are."""
    edges: Mapping[str, Edges] = {}
    """Columns of numbers to tell a histogram of, with its edges in ascending order."""
    min_count: Annotated[int, Field(ge=1)] = DEFAULT_MIN_COUNT
    """Of fewer values than this nothing is told."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, edges in self.edges.items():
            if any(a >= b for a, b in itertools.pairwise(edges)):
                raise ValueError(f"the edges of {name} aren't in ascending order")
        return self

    def check(self, response: Response) -> None:
        """Refuse columns that weren't asked for, counts below the minimum, and bins of cells that there aren't."""
        assert isinstance(response, StatisticsResponse)
        for name, column in response.columns.items():
            if self.columns and name not in self.columns:
                raise MessageError(f"column {name!r} wasn't asked for")
            counts = (column.count, *(column.groups.values() if isinstance(column, Groups) else ()))
            if min(counts) < self.min_count:
                raise MessageError(f"column {name!r} has a count of {min(counts)}: {self.min_count} is the minimum")
            bins = column.bins if isinstance(column, Numbers) else None
            num_cells = len(self.edges[name]) + 1 if name in self.edges else 0
            if bins is not None and bins.starts[-1] >= num_cells:
                raise MessageError(f"column {name!r} has a bin from cell {bins.starts[-1]}: there are {num_cells}")
