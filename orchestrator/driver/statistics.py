"""Asking the clients of a run what they have, where the workload goes by that before there is a model."""

from __future__ import annotations

import logging

from orchestrator.driver.context import RunContext
from orchestrator.driver.orders import make_order, time_limits
from tasks.orders.statistics import StatisticsOrder
from tasks.statistics import Statistics, put_together

logger = logging.getLogger(__name__)


def ask_statistics(context: RunContext) -> Statistics:
    """Ask all connected clients for statistics of all their columns, without histograms.

    Raises:
        NothingToldError: If no client tells anything.
    """
    client_ids = sorted(client.client_id for client in context.manager.connected())
    limits = time_limits(context, context.config.timeout_s, client_ids)
    orders = [make_order(context, StatisticsOrder, client_id, 0, limits) for client_id in client_ids]
    statistics = put_together(context.collector.ask(orders, limits.total_s))
    for client_id, reason in statistics.not_told.items():
        logger.warning("client %s told nothing of its data: %s", client_id, reason)
    for client_id, names in statistics.withheld.items():
        logger.warning("client %s doesn't count in %s: too few values, or of another kind", client_id, ", ".join(names))
    return statistics
