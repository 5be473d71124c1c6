"""The end of a run: the clients get the final model and are disconnected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.round import RoundContext, publish_model
from orchestrator.slots import Slots
from tasks import names
from tasks.blobs import discard
from tasks.messages import DisconnectOrder, Order, SetParametersOrder

FAREWELL_TIMEOUT_S = 30.0
"""Seconds that clients have to take the final model, and again to take their leave."""


def say_farewell(context: RoundContext, incarnations: Mapping[str, str]) -> None:
    """Give clients the final model and disconnect them; those that don't answer are left behind.

    Args:
        context: The run's.
        incarnations: Client id -> incarnation, of the clients to say farewell to.
    """
    if not incarnations:
        return
    parameters = publish_model(context, context.config.rounds)
    client_ids = sorted(incarnations)
    _carry_out(
        context,
        names.SET_PARAMETERS_TASK,
        [
            SetParametersOrder.model_validate(
                {**_common(context, client_id, "set_parameters"), "parameters": parameters}
            )
            for client_id in client_ids
        ],
        incarnations,
    )
    discard(context.wire.chunks, parameters)
    _carry_out(
        context,
        names.DISCONNECT_TASK,
        [
            DisconnectOrder.model_validate(
                {
                    **_common(context, client_id, "disconnect"),
                    "incarnation": incarnations[client_id],
                    "message": "the run is completed",
                }
            )
            for client_id in client_ids
        ],
        incarnations,
    )


def _common(context: RoundContext, client_id: str, kind: str) -> dict[str, object]:
    config = context.config
    return {
        "order_id": names.order_id(client_id, config.run_id, config.rounds, kind),
        "run_id": config.run_id,
        "client_id": client_id,
        "round_number": config.rounds,
        "workload": config.workload,
        "timeout_s": FAREWELL_TIMEOUT_S,
    }


def _carry_out(context: RoundContext, task: str, orders: Sequence[Order], incarnations: Mapping[str, str]) -> None:
    slots = Slots(orders, incarnations)
    context.collector.send(task, slots)
    context.collector.collect(task, slots, FAREWELL_TIMEOUT_S)
    context.wire.courier.forget([order.order_id for order in orders])
