"""The end of a run: the clients get the final model and are disconnected."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from orchestrator.driver.context import RunContext
from tasks.messages import Answer, DisconnectOrder, SetParametersOrder, Status

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
    _warn(context.collector.ask(orders, timeout_s, lambda: context.publish_model(rounds)))
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
    _warn(context.collector.ask(farewells, timeout_s))


def _warn(answers: Iterable[Answer]) -> None:
    for answer in answers:
        if answer.status is not Status.DONE:
            logger.warning("client %s: %s: %s", answer.client_id, answer.status.value, answer.reason)
