"""Leaving."""

from __future__ import annotations

import logging

from tasks.messages import Response
from tasks.orders.disconnect import DisconnectOrder
from worker.client import Client

logger = logging.getLogger(__name__)


def handle(client: Client, order: DisconnectOrder) -> Response:
    """Leave the federation; where it is for good, the worker ends within a heartbeat, unless it is to stay."""
    if order.incarnation != client.incarnation:
        return order.respond(reason="the order is for a former start of this client")
    if client.stays and not order.reconnect_after_s:
        logger.info("client %s waits for the next run: %s", client.client_id, order.message)
        return order.respond()
    logger.info("client %s was told to leave: %s", client.client_id, order.message)
    client.connection.leave(client.client_id, client.incarnation, order.reconnect_after_s, order.run_id)
    return order.respond()
