"""A kind of orders whose clients hold on as long as a file of their name is there, in the folder of their workload."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from celeriac import Order, OrderKind, Response


class HeldOrder(Order):
    """Answer when nothing holds you."""

    name = "held"


def hold(client: Any, order: HeldOrder) -> Response:
    file = Path(client.client_id)
    if file.exists():
        file.with_suffix(".begun").touch()
    while file.exists():
        time.sleep(0.01)
    return order.respond()


HELD = OrderKind(HeldOrder, hold)
