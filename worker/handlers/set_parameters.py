"""Keeping a model."""

from __future__ import annotations

import logging

from tasks.messages import Response
from tasks.orders.set_parameters import SetParametersOrder
from worker.client import Client

logger = logging.getLogger(__name__)

MODEL_FILE = "model.safetensors"


def handle(client: Client, order: SetParametersOrder) -> Response:
    """Keep the order's parameters in the client's folder."""
    client.check_workload(order)
    path = client.folder / MODEL_FILE
    client.models.write(client.blobs, order.parameters, path)
    logger.info("client %s: the model after round %d is in %s", client.client_id, order.round_number, path)
    return order.respond()
