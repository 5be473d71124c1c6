from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks.messages import Order, Status
from tasks.orders.disconnect import DisconnectOrder
from tasks.orders.train import TrainOrder
from tests.support import train_order
from tests.worker.asked import (
    Noting,
)
from worker.client import Client
from worker.handlers import disconnect


def to_disconnect(**changes: Any) -> DisconnectOrder:
    common = train_order().model_dump(exclude=set(TrainOrder.model_fields) - set(Order.model_fields))
    return DisconnectOrder.model_validate({**common, "incarnation": "second", "message": "bye", **changes})


@pytest.mark.parametrize(("seconds", "away"), [(0.0, [0.0]), (2.5, [2.5])])
def test_a_client_stays_away_for_as_long_as_it_is_told_to(
    client: Client, connection: Noting, seconds: float, away: list[float]
) -> None:
    # Given an order to leave, for good or for a while
    order = to_disconnect(reconnect_after_s=seconds)
    # When it is carried out, then the client says so, and leaves for that long
    assert disconnect.handle(client, order).status is Status.DONE
    assert connection.left == away


@pytest.mark.parametrize(("seconds", "away"), [(0.0, []), (2.5, [2.5])])
def test_a_client_that_stays_leaves_only_where_it_is_told_for_how_long(
    client: Client, connection: Noting, seconds: float, away: list[float]
) -> None:
    # Given a client that is to stay when a run is over
    client = replace(client, stays=True)
    # When it is told to leave, then it is there for the next run, or comes back for it when it is told to
    assert disconnect.handle(client, to_disconnect(reconnect_after_s=seconds)).status is Status.DONE
    assert connection.left == away


def test_an_order_to_leave_for_a_former_start_is_none_for_this_one(client: Client, connection: Noting) -> None:
    # Given an order to leave that was meant for the client before it was started anew
    order = to_disconnect(incarnation="first", reconnect_after_s=2.5)
    # When it is carried out, then the client stays
    response = disconnect.handle(client, order)
    assert (response.status, response.reason) == (Status.DONE, "the order is for a former start of this client")
    assert connection.left == []
