"""Asking clients for statistics, in one exchange or two, and putting together what they tell.

Where edges aren't given they are agreed on: the first exchange brings mean and variance of each column, from which the
edges follow; the second one brings the histograms. Nobody tells its smallest or largest value.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.asking import Clients
from tasks.errors import ConfigurationError
from tasks.orders.statistics import DEFAULT_MIN_COUNT, Column, Numbers, StatisticsOrder
from tasks.pooling import edges_around, pool_numbers
from tasks.statistics import Statistics, by_column_of, put_together, told_by


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for.

    Attributes:
        columns: Names of columns; empty: all.
        edges: Edges of histograms, by column, in ascending order.
        num_bins: Cells between the edges that are agreed on.
        shares: Which quantiles: shares from 0 to 1.
        min_count: The fewest values that a client is to tell of.
    """

    columns: tuple[str, ...] = ()
    edges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    num_bins: int = 10
    shares: tuple[float, ...] = (0.25, 0.5, 0.75)
    min_count: int = DEFAULT_MIN_COUNT


def ask_statistics(clients: Clients, query: Query) -> Statistics:
    """Ask all connected clients.

    Raises:
        ConfigurationError: If no client has a column that is asked for, or edges are given for names.
        NothingToldError: If no client tells anything.
    """
    responses = clients.ask(StatisticsOrder, columns=query.columns, min_count=query.min_count)
    told = told_by(responses)
    _check_names((*query.columns, *query.edges), {name for response in told.values() for name in response.known})
    edges = _edges(by_column_of(told), query)
    if edges:
        responses = clients.ask(StatisticsOrder, columns=query.columns, min_count=query.min_count, edges=edges)
        told = told_by(responses)
    return put_together(responses, query.min_count, edges, query.shares)


def _check_names(names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if known and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigurationError(f"there is no column {name!r}: {guess}known are {', '.join(sorted(known))}")


def _edges(by_column: Mapping[str, Mapping[str, Column]], query: Query) -> dict[str, tuple[float, ...]]:
    """Return the edges of each column of numbers, the given ones or those that follow from mean and variance."""
    edges = {}
    for name, columns in by_column.items():
        numbers = [column for column in columns.values() if isinstance(column, Numbers)]
        if numbers:
            pooled = pool_numbers(numbers)
            edges[name] = query.edges.get(name) or edges_around(pooled.mean, pooled.variance, query.num_bins)
        elif name in query.edges:
            raise ConfigurationError(f"--edges {name}: this column holds names, which have no histogram")
    return edges
