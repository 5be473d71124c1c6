"""Asking clients for statistics, in one exchange or two, and putting together what they tell.

Where edges aren't given they are agreed on: the first exchange brings mean and variance of each column, from which the
edges follow; the second one brings the histograms. Nobody tells its smallest or largest value.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from orchestrator.analytics.pooling import GroupsSummary, NumbersSummary, edges_around, pool_groups, pool_numbers
from orchestrator.asking import Clients
from tasks.errors import ConfigurationError, NothingToldError
from tasks.messages import Response
from tasks.orders.statistics import DEFAULT_MIN_COUNT, Column, Groups, Numbers, StatisticsOrder, StatisticsResponse

Summary = NumbersSummary | GroupsSummary


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


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class ColumnStatistics(_Record):
    """A column over all clients, and at each."""

    over_all: Summary
    clients: Mapping[str, Summary]


class Statistics(_Record):
    """What clients have told: columns by name, and by client id what is to be known of the client."""

    columns: Mapping[str, ColumnStatistics]
    min_count: int
    """The fewest values that clients were asked to tell of."""
    min_counts: Mapping[str, int]
    """The fewest values that each client told of: its own minimum, where that is more than what was asked for."""
    withheld: Mapping[str, tuple[str, ...]]
    """Columns of which a client has fewer values than that, or which are of another kind there than elsewhere."""
    not_told: Mapping[str, str]
    """Why a client told nothing."""


def ask_statistics(clients: Clients, query: Query) -> Statistics:
    """Ask all connected clients.

    Raises:
        ConfigurationError: If no client has a column that is asked for, or edges are given for names.
        NothingToldError: If no client tells anything.
    """
    responses = clients.ask(StatisticsOrder, columns=query.columns, min_count=query.min_count)
    told = _told(responses)
    _check_names((*query.columns, *query.edges), {name for response in told.values() for name in response.known})
    edges = _edges(_by_column(told), query)
    if edges:
        responses = clients.ask(StatisticsOrder, columns=query.columns, min_count=query.min_count, edges=edges)
        told = _told(responses)
    return put_together(responses, edges, query)


def put_together(responses: Sequence[Response], edges: Mapping[str, tuple[float, ...]], query: Query) -> Statistics:
    """Return what clients have told, over all of them and of each.

    Raises:
        NothingToldError: If none of them has told anything.
    """
    told = _told(responses)
    by_column = _by_column(told)
    not_told = {
        response.client_id: f"{response.status}: {response.reason}"
        for response in responses
        if not (response.client_id in told and told[response.client_id].columns)
    }
    if not by_column:
        why = "; ".join(f"{client_id}: {reason}" for client_id, reason in list(not_told.items())[:3])
        raise NothingToldError(f"no client told anything of its data: {why or 'none was asked'}")

    def summarise(name: str, columns: Iterable[Column]) -> Summary:
        of_numbers = [column for column in columns if isinstance(column, Numbers)]
        if of_numbers:
            return pool_numbers(of_numbers, edges.get(name), query.shares)
        return pool_groups([column for column in columns if isinstance(column, Groups)])

    return Statistics(
        columns={
            name: ColumnStatistics(
                over_all=summarise(name, list(found.values())),
                clients={client_id: summarise(name, [column]) for client_id, column in found.items()},
            )
            for name, found in by_column.items()
        },
        min_count=query.min_count,
        min_counts={client_id: response.min_count for client_id, response in told.items()},
        withheld={
            client_id: missing for client_id, response in told.items() if (missing := _withheld(response, by_column))
        },
        not_told=not_told,
    )


def _told(responses: Sequence[Response]) -> dict[str, StatisticsResponse]:
    return {response.client_id: response for response in responses if isinstance(response, StatisticsResponse)}


def _by_column(told: Mapping[str, StatisticsResponse]) -> dict[str, dict[str, Column]]:
    """Return column -> client -> what is told, of the kind that most clients have in it."""
    found: dict[str, dict[str, Column]] = {}
    for client_id, response in told.items():
        for name, column in response.columns.items():
            found.setdefault(name, {})[client_id] = column
    return {name: _of_one_kind(columns) for name, columns in found.items()}


def _of_one_kind(columns: Mapping[str, Column]) -> dict[str, Column]:
    kinds = Counter(column.kind for column in columns.values())
    kind = max(sorted(kinds, reverse=True), key=kinds.__getitem__)
    return {client_id: column for client_id, column in columns.items() if column.kind == kind}


def _withheld(response: StatisticsResponse, by_column: Mapping[str, Mapping[str, Column]]) -> tuple[str, ...]:
    others = [name for name in response.columns if response.client_id not in by_column[name]]
    return (*response.withheld, *others)


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
