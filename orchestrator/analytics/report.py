"""Showing statistics: tables on a terminal, a line each elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.pooling import GroupsSummary, Histogram, NumbersSummary, Quantile
from tasks.statistics import ColumnStatistics, Statistics, Summary

MOST_CLIENTS = 20
"""Clients that are shown one by one; all of them are in the file."""
MOST_GROUPS = 10
BAR = 40
OVER_ALL = "over all"


def show(statistics: Statistics, console: Console) -> None:
    """Show statistics on a console: as tables if it is a terminal, else in lines."""
    for name, column in statistics.columns.items():
        if console.is_terminal:
            for table in _tables(name, column):
                console.print(table)
        else:
            for line in _lines(name, column):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in _notes(statistics):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _rows(column: ColumnStatistics) -> list[tuple[str, Summary]]:
    return [(OVER_ALL, column.over_all), *list(column.clients.items())[:MOST_CLIENTS]]


def _tables(name: str, column: ColumnStatistics) -> Iterator[Table]:
    table = Table(title=escape(name), title_justify="left")
    table.add_column("")
    cells = [(whom, _cells(summary)) for whom, summary in _rows(column)]
    for heading in cells[0][1]:
        table.add_column(heading, justify="left" if heading == "groups" else "right")
    for whom, of_whom in cells:
        table.add_row(escape(whom), *(escape(text) for text in of_whom.values()))
    yield table
    if isinstance(column.over_all, NumbersSummary) and column.over_all.histogram is not None:
        bars = Table("values", "count", "", title=f"{escape(name)}, {OVER_ALL}", title_justify="left")
        histogram = column.over_all.histogram
        most = max(histogram.counts) or 1.0
        for cell, count in _cell_counts(histogram):
            bars.add_row(cell, _count(count), "█" * round(BAR * count / most))
        yield bars


def _lines(name: str, column: ColumnStatistics) -> Iterator[str]:
    for whom, summary in _rows(column):
        yield f"{name}, {whom}: " + ", ".join(f"{heading} {text}" for heading, text in _cells(summary).items())
    if isinstance(column.over_all, NumbersSummary) and column.over_all.histogram is not None:
        cells = [f"{cell}: {_count(count)}" for cell, count in _cell_counts(column.over_all.histogram)]
        yield f"{name}, {OVER_ALL}, histogram: {'; '.join(cells)}"


def _cells(summary: Summary) -> dict[str, str]:
    """Return heading -> text."""
    counts = {"count": f"{summary.count:,}", "missing": f"{summary.missing:,}"}
    if isinstance(summary, GroupsSummary):
        return {**counts, "groups": _groups(summary)}
    variance = "-" if summary.variance is None else f"{summary.variance:.6g}"
    quantiles = {f"quantile {quantile.share:g}": _quantile(quantile) for quantile in summary.quantiles}
    return {**counts, "mean": f"{summary.mean:.6g}", "variance": variance, **quantiles}


def _quantile(quantile: Quantile) -> str:
    if quantile.value is not None:
        return f"{quantile.value:.4g}"
    if quantile.low is None and quantile.high is None:
        return "-"
    return f"< {quantile.high:.4g}" if quantile.low is None else f"> {quantile.low:.4g}"


def _groups(summary: GroupsSummary) -> str:
    shown = list(summary.groups.items())
    rest = sum(count for _, count in shown[MOST_GROUPS:])
    parts = [f"{name} {count:,}" for name, count in shown[:MOST_GROUPS]]
    parts += [f"{len(shown) - MOST_GROUPS} more {rest:,}"] if rest else []
    return ", ".join([*parts, *([f"(other {summary.other:,})"] if summary.other else [])])


def _cell_counts(histogram: Histogram) -> list[tuple[str, float]]:
    edges = [f"{edge:g}" for edge in histogram.edges]
    inner = [f"{low} to {high}" for low, high in itertools.pairwise(edges)]
    return list(zip([f"below {edges[0]}", *inner, f"above {edges[-1]}"], histogram.counts, strict=True))


def _count(count: float) -> str:
    return f"{count:,.0f}" if count == int(count) else f"{count:,.1f}"


def _notes(statistics: Statistics) -> Iterator[str]:
    """Yield what else is to be known."""
    for name, column in statistics.columns.items():
        histogram = column.over_all.histogram if isinstance(column.over_all, NumbersSummary) else None
        if histogram is not None and histogram.num_spread:
            yield (
                f"{name}: {histogram.num_spread:,} values are in bins that a client merged: where in them is estimated"
            )
        if len(column.clients) > MOST_CLIENTS:
            yield f"{name}: {MOST_CLIENTS} of {len(column.clients)} clients are shown, --output has all"
    for client_id, min_count in statistics.min_counts.items():
        if min_count > statistics.min_count:
            yield f"client {client_id} tells of no fewer than {min_count:,} values (CLIENT_MIN_COUNT)"
    for client_id, names in statistics.withheld.items():
        yield f"client {client_id} doesn't count in {', '.join(names)}: too few values, or of another kind"
    for client_id, reason in statistics.not_told.items():
        yield f"client {client_id} told nothing: {reason}"
