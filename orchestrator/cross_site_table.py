"""What clients found of each other's models, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.store.records import CrossSiteMatrix, CrossSiteRow
from tasks.metrics import Declared, digits, first_declared

MANY = 8
"""Clients from which on the table has their least, mean and greatest value in place of a column each."""
_MISSING = "-"


def table_of(matrix: CrossSiteMatrix, declared: Declared) -> Iterator[str]:
    """Yield the lines of a table, a row a model, by one metric on each client's data.

    It is the first that is declared to be better in some direction, or else the accuracy, the loss, or what there is.

    Args:
        matrix: What the clients found.
        declared: What the workload declares of its metrics.
    """
    clients = sorted({client_id for row in matrix.rows for client_id in (*row.metrics, *row.not_evaluated)})
    names = {name for row in matrix.rows for metrics in row.metrics.values() for name in metrics}
    known = (first_declared(declared), "accuracy", "loss", *sorted(names))
    metric = next((name for name in known if name in names), "")
    head = clients if len(clients) < MANY else ["least", "mean", "greatest"]
    rows = [[f"{metric} of the model of", *head], *(_cells(row, metric, clients) for row in matrix.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) + 1)]
    for first, *rest in rows:
        cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def _cells(row: CrossSiteRow, metric: str, clients: Sequence[str]) -> list[str]:
    found = {client_id: metrics[metric] for client_id, metrics in row.metrics.items() if metric in metrics}
    name = row.model_of or "all (global)"
    if len(clients) < MANY:
        return [name, *(digits(found[each]) if each in found else _MISSING for each in clients)]
    values = list(found.values())
    shown = [min(values), sum(values) / len(values), max(values)] if values else []
    return [name, *(digits(value) for value in shown), *[_MISSING] * (3 - len(shown))]
