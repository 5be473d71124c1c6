"""What clients have told of their columns, over all of them and of each: statistics without a model. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from tasks.errors import NothingToldError
from tasks.messages import Response
from tasks.orders.statistics import DEFAULT_MIN_COUNT, Column, Groups, Numbers, StatisticsResponse
from tasks.pooling import GroupsSummary, NumbersSummary, pool_groups, pool_numbers

Summary = NumbersSummary | GroupsSummary


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


def put_together(
    responses: Sequence[Response],
    min_count: int = DEFAULT_MIN_COUNT,
    edges: Mapping[str, tuple[float, ...]] | None = None,
    shares: Sequence[float] = (),
) -> Statistics:
    """Return what clients have told, over all of them and of each.

    Args:
        responses: What each of them answered.
        min_count: The fewest values that they were asked to tell of.
        edges: Of the histograms that were asked for, by column.
        shares: Which quantiles to tell of: shares from 0 to 1.

    Raises:
        NothingToldError: If none of them has told anything.
    """
    told = told_by(responses)
    by_column = by_column_of(told)
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
            return pool_numbers(of_numbers, (edges or {}).get(name), shares)
        return pool_groups([column for column in columns if isinstance(column, Groups)])

    return Statistics(
        columns={
            name: ColumnStatistics(
                over_all=summarise(name, list(found.values())),
                clients={client_id: summarise(name, [column]) for client_id, column in found.items()},
            )
            for name, found in by_column.items()
        },
        min_count=min_count,
        min_counts={client_id: response.min_count for client_id, response in told.items()},
        withheld={
            client_id: missing for client_id, response in told.items() if (missing := _withheld(response, by_column))
        },
        not_told=not_told,
    )


def told_by(responses: Sequence[Response]) -> dict[str, StatisticsResponse]:
    """Return what each client told, by client id; those that told nothing are left out."""
    return {response.client_id: response for response in responses if isinstance(response, StatisticsResponse)}


def by_column_of(told: Mapping[str, StatisticsResponse]) -> dict[str, dict[str, Column]]:
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
