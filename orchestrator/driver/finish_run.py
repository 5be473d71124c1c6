"""The end of a run: the clients get the final model and are disconnected."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from orchestrator.clients.naming import by_what, client_field, named
from orchestrator.driver.context import RunContext
from orchestrator.driver.model_publisher import publish_model
from orchestrator.driver.orders import make_order, time_limits
from tasks.messages import Response, Status
from tasks.orders.disconnect import DisconnectOrder
from tasks.orders.set_parameters import SetParametersOrder

logger = logging.getLogger(__name__)

FAREWELL_TIMEOUT_S = 30.0
"""Seconds that clients have to take the final model, and again to take their leave."""
FAREWELL_PER_CLIENT_S = 0.1
"""Seconds more for each client: many of them may share a worker."""


def finish_run(context: RunContext, round_number: int, incarnations: Mapping[str, str]) -> None:
    """Give clients the final model and disconnect them; those that don't answer are left behind.

    They leave for good, or come back after as many seconds as the run's config says.

    Args:
        context: The run's.
        round_number: The run's last round.
        incarnations: Client id -> incarnation, of the clients to say farewell to.
    """
    if not incarnations:
        return
    timeout_s = FAREWELL_TIMEOUT_S + FAREWELL_PER_CLIENT_S * len(incarnations)
    parameters = publish_model(context, round_number)
    limits = time_limits(context, timeout_s)
    orders = [
        make_order(context, SetParametersOrder, client_id, round_number, limits, parameters=parameters)
        for client_id in sorted(incarnations)
    ]
    _warn(context.collector.ask(orders, limits.total_s, lambda: publish_model(context, round_number)))
    context.services.blobs.discard([parameters.name], parameters.size_bytes)
    limits = time_limits(context, timeout_s)
    farewells = [
        make_order(
            context,
            DisconnectOrder,
            client_id,
            round_number,
            limits,
            incarnation=incarnations[client_id],
            message="the run is completed",
            reconnect_after_s=context.config.reconnect_after_s,
        )
        for client_id in sorted(incarnations)
    ]
    answered = context.collector.ask(farewells, limits.total_s)
    _warn(each for each in answered if each.status is not Status.LOST)  # who is gone before its answer is has left


def _warn(responses: Iterable[Response]) -> None:
    bad = {each.client_id: f"{each.status}: {each.reason}" for each in responses if each.status is not Status.DONE}
    for what, client_ids in by_what(bad):
        logger.warning("%s: %s", named(client_ids), what, extra=client_field(client_ids))
