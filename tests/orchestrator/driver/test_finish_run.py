from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.driver.collector import Collector
from orchestrator.driver.finish_run import finish_run
from tasks import arrays
from tasks.blobs.blob import BlobRef
from tasks.messages import Order, Response, Status
from tasks.orders.disconnect import DisconnectOrder
from tests.orchestrator.driver.contexts import MODEL, Clients


def done(order: dict[str, Any], status: Status = Status.DONE, reason: str = "") -> Response:
    return Response(order_id=order["order_id"], client_id=order["client_id"], status=status, reason=reason)


def test_clients_get_the_final_model_and_are_then_told_to_leave(tmp_path: Path) -> None:
    # Given two clients, each of which reads the model as it is given it
    clients = Clients(("bert", "anna"))
    read: list[list[float]] = []

    def take_model(order: dict[str, Any]) -> Response:
        model = arrays.decode(clients.chunks.get(BlobRef.model_validate(order["parameters"])))
        read.append(model["point"].tolist())
        return done(order)

    clients.answer("set_parameters", take_model)
    clients.answer("disconnect", done)
    # When their run of two rounds ends, after which they are to come back
    context = clients.context(tmp_path, rounds=2, reconnect_after_s=60.0)
    finish_run(context, 2, {"bert": "of-bert", "anna": "of-anna"})
    # Then all have the model before any of them leaves, as the process that it was, for a minute
    assert [order["order_id"] for order in clients.orders] == [
        "client/anna/run/2/set_parameters",
        "client/bert/run/2/set_parameters",
        "client/anna/run/2/disconnect",
        "client/bert/run/2/disconnect",
    ]
    assert read == [MODEL["point"].tolist()] * 2
    leaving = clients.orders[2:]
    assert [(order["incarnation"], order["reconnect_after_s"]) for order in leaving] == [
        ("of-anna", 60.0),
        ("of-bert", 60.0),
    ]
    # And nothing is left in the store
    assert clients.chunks.chunks == {}


def test_who_cant_take_the_model_is_named_and_told_to_leave_with_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given two clients of three whose disk is full
    clients = Clients(("anna", "bert", "carl"))
    full = {"anna", "carl"}
    clients.answer(
        "set_parameters",
        lambda order: done(order, Status.FAILED, "disk full") if order["client_id"] in full else done(order),
    )
    clients.answer("disconnect", done)
    # When the run ends
    finish_run(clients.context(tmp_path), 1, dict.fromkeys(("anna", "bert", "carl"), "first"))
    # Then it is told once of both, and all three are told to leave
    assert caplog.messages == ["2 clients (anna, carl): failed: disk full"]
    assert [order["client_id"] for order in clients.orders[3:]] == ["anna", "bert", "carl"]


class Leaving:
    """Asks clients on lines of seconds: that they are there no more comes before the answer that they leave."""

    def ask(self, orders: Sequence[Order], *_: Any) -> list[Response]:
        return [
            order.respond(Status.LOST, reason="the client vanished")
            if isinstance(order, DisconnectOrder)
            else order.respond()
            for order in orders
        ]


def test_who_is_gone_before_its_last_answer_comes_has_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    context: Any = replace(Clients(("anna",)).context(tmp_path), collector=cast("Collector", Leaving()))
    finish_run(context, 1, {"anna": "first"})
    assert caplog.messages == []


def test_where_nobody_is_connected_nothing_is_sent(tmp_path: Path) -> None:
    # Given nobody, when the run ends, then there are no orders, nor a model for them
    clients = Clients(())
    finish_run(clients.context(tmp_path), 1, {})
    assert clients.orders == []
    assert clients.chunks.chunks == {}
