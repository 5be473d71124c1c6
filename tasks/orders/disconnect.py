"""The order to leave."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tasks.messages import MAX_AWAY_S, Order
from tasks.readable import Reason


class DisconnectOrder(Order):
    """Leave the federation."""

    name = "disconnect"

    incarnation: str
    """The incarnation of the client that is meant: a later one of the same id stays."""
    message: Reason
    reconnect_after_s: Annotated[float, Field(ge=0, le=MAX_AWAY_S)] = 0.0
    """Seconds after which to come back; 0: never, the worker ends."""
