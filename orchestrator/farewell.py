"""The end of a run: the clients get the final model and are disconnected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from orchestrator.context import RunContext
from orchestrator.slots import Slots
from tasks import names
from tasks.messages import DisconnectOrder, Order, SetParametersOrder, Status

logger = logging.getLogger(__name__)

FAREWELL_TIMEOUT_S = 30.0
"""Seconds that clients have to take the final model, and again to take their leave."""
FAREWELL_PER_CLIENT_S = 0.1
"""Seconds more for each client: many of them may share a worker."""


def say_farewell(context: RunContext, incarnations: Mapping[str, str]) -> None:
    """Give clients the final model and disconnect them; those that don't answer are left behind.

    They leave for good, or come back after as many seconds as the run's config says.

    Args:
        context: The run's.
        incarnations: Client id -> incarnation, of the clients to say farewell to.
    """
    if not incarnations:
        return
    rounds = context.config.rounds
    timeout_s = FAREWELL_TIMEOUT_S + FAREWELL_PER_CLIENT_S * len(incarnations)
    parameters = context.publish_model(rounds)
    term = context.term(timeout_s)
    orders = [
        context.order(SetParametersOrder, client_id, rounds, term, parameters=parameters)
        for client_id in sorted(incarnations)
    ]
    restore = partial(context.publish_model, rounds)
    _carry_out(context, names.SET_PARAMETERS_TASK, orders, incarnations, timeout_s, restore)
    context.wire.blobs.discard([parameters.name], parameters.size_bytes)
    term = context.term(timeout_s)
    farewells = [
        context.order(
            DisconnectOrder,
            client_id,
            rounds,
            term,
            incarnation=incarnations[client_id],
            message="the run is completed",
            reconnect_after_s=context.config.reconnect_after_s,
        )
        for client_id in sorted(incarnations)
    ]
    _carry_out(context, names.DISCONNECT_TASK, farewells, incarnations, timeout_s)


def _carry_out(
    context: RunContext,
    task: str,
    orders: Sequence[Order],
    incarnations: Mapping[str, str],
    timeout_s: float,
    restore: Callable[[], object] = lambda: None,
) -> None:
    slots = Slots(orders, incarnations)
    context.collector.send(task, orders)
    context.collector.collect(task, slots, timeout_s, restore=restore)
    context.wire.courier.forget([order.order_id for order in orders])
    for _, answer in slots.filled():
        if answer.status is not Status.DONE:
            logger.warning("client %s: %s: %s", answer.client_id, answer.status.value, answer.reason)
