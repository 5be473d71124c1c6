from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.blobs.chunks import MemoryChunks
from tasks.broker.app import make_app
from tasks.errors import ConfigurationError, FederationError, UnfitOrderError
from tasks.messages import Order, Response, Status, encode
from tasks.names import order_task
from tasks.orders.kind import AnyKind, OrderKind
from tests.support import PULL, Pull, points
from worker.client import Client
from worker.handlers import load_kinds
from worker.serving import Serving
from worker.tasks import register


class CountResponse(Response):
    count: int


class CountOrder(Order):
    name = "count"
    response = CountResponse

    least: int = 0


class TrainAgain(Order):
    name = "train"


def count(client: Client, order: CountOrder) -> Response:
    if len(client.data.train) < order.least:
        raise ValueError(f"only {len(client.data.train)} points")
    return order.respond(count=len(client.data.train))


COUNT = OrderKind(CountOrder, count)
COUNT_AGAIN = OrderKind(CountOrder, count)
TAKEN: AnyKind = OrderKind(TrainAgain, lambda _, order: order.respond())
SILENT: AnyKind = OrderKind(CountOrder, lambda _, order: None)  # type: ignore[arg-type,return-value]
BARE: AnyKind = OrderKind(CountOrder, lambda _, order: order.respond())


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client("anna", PULL, Pull(), points("anna", 3), MemoryChunks(), tmp_path, "first")


def order(**changes: Any) -> CountOrder:
    return CountOrder.model_validate(
        {
            "order_id": "anna/run/1/count", "run_id": "run", "client_id": "anna", "round_number": 1, "workload": PULL,
            "timeout_s": 60.0, "deadline": 1e12, **changes,
        }
    )  # fmt: skip


def handler(name: str) -> Callable[[Client, Order], Response]:
    return load_kinds([f"{__name__}:{name}"])[0].handle


def test_a_kind_of_ones_own_is_carried_out_by_its_task(client: Client) -> None:
    # Given a worker that serves anna, and has been told of a kind of orders
    app = make_app("own", "memory://", include=())
    app.finalize()
    app.serving = Serving()
    app.serving.add(client)
    for kind in load_kinds([f"{__name__}:COUNT"]):
        register(kind)
    # When it gets such an order
    task = app.tasks[order_task("count")]
    task.push_request(id="anna/run/1/count")
    response = task(encode(order()))
    task.pop_request()
    # Then the answer has what the user's function says
    assert (response["status"], response["count"]) == ("done", 3)


def test_an_order_of_another_workload_is_refused_before_the_users_code_sees_it(client: Client) -> None:
    with pytest.raises(UnfitOrderError, match="set CLIENT_WORKLOAD"):
        handler("COUNT")(client, order(workload="mnist"))


@pytest.mark.parametrize(
    ("name", "least", "told"),
    [
        ("COUNT", 4, r"^the order count: ValueError: only 3 points \(test_own_kinds.py, line \d+, in count\)$"),
        ("SILENT", 0, r"^the order count returned NoneType: order.respond\(…\) is needed$"),
        ("BARE", 0, r"^CountResponse: count: Field required$"),
    ],
)
def test_what_a_users_function_does_wrong_is_told(client: Client, name: str, least: int, told: str) -> None:
    # Given a function that raises, returns nothing, or leaves a field out, when it is called, then that is told
    with pytest.raises(FederationError) as raised:
        handler(name)(client, order(least=least))
    assert re.search(told, str(raised.value)), raised.value


@pytest.mark.parametrize(
    ("specs", "told"),
    [
        (["count"], "unknown order kind 'count'"),
        (["nowhere:COUNT"], "there is no module 'nowhere'"),
        ([f"{__name__}:CONT"], "did you mean 'COUNT'"),
        ([f"{__name__}:count"], "is function: an OrderKind(order=…, handle=…) is needed"),
        ([f"{__name__}:TAKEN"], "its name 'train' is taken, call it something else"),
        ([f"{__name__}:COUNT", f"{__name__}:COUNT_AGAIN"], "its name 'count' is taken, call it something else"),
    ],
)
def test_a_kind_that_is_none_is_refused(specs: list[str], told: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_kinds(specs)
    assert told in str(raised.value)


def test_the_status_of_a_failure_needs_no_result() -> None:
    assert order().respond(Status.FAILED, reason="no luck").status is Status.FAILED
