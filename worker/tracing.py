"""A span of each order that a client carries out, where the environment says where spans go (``OTEL_…``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.names import order_task
from tasks.orders.train import TrainOrder
from tasks.tracing import TaskTracer, Traced, is_asked_for, is_installed

logger = logging.getLogger(__name__)


def follow_orders() -> None:
    """Have each order be a span: a training's is a child of its order's, any other's of the round's."""
    if not is_asked_for():
        return
    if not is_installed():
        logger.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, and nothing is sent: pip install 'celeriac[otel]'")
        return
    TaskTracer("celeriac-client", traced_order).follow()


def traced_order(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Traced | None:
    """Return the span of an order, whose message isn't checked yet; None if it is none of a run's."""
    message = next(iter((*args, *kwargs.values())), None)
    said = message if isinstance(message, dict) else {}
    run_id, client_id, number = said.get("run_id"), said.get("client_id"), said.get("round_number")
    if not (isinstance(run_id, str) and isinstance(client_id, str) and isinstance(number, int)):
        return None
    of_order = (client_id,) if task == order_task(TrainOrder.name) else ()
    attributes: dict[str, str | int] = {
        "celeriac.run_id": run_id,
        "celeriac.client_id": client_id,
        "celeriac.round_number": number,
    }
    return Traced(run_id, (str(number), *of_order), task.rpartition(".")[2], attributes)
