"""The order to leave."""

from __future__ import annotations

from tasks.messages import Order, Seconds


class DisconnectOrder(Order):
    """Leave the federation."""

    name = "disconnect"

    incarnation: str
    """The incarnation of the client that is meant: a later one of the same id stays."""
    message: str
    reconnect_after_s: Seconds = 0.0
    """Seconds after which to come back; 0: never, the worker ends."""
