"""Telling statistics of the client's data, and nothing of fewer values than the minimum."""

from __future__ import annotations

from tasks.messages import Response, Status
from tasks.orders.statistics import StatisticsOrder
from tasks.summarising import tell
from tasks.user_code import user_code
from worker.client import Client


def handle(client: Client, order: StatisticsOrder) -> Response:
    """Tell of the columns that are asked for and that the workload has."""
    client.check_workload(order)
    least = max(order.min_count, client.allowed.min_count)
    with user_code("columns()"):
        columns = client.workload.columns(client.data)
        return order.respond(Status.DONE, **tell(columns, least, order.columns, order.edges))
