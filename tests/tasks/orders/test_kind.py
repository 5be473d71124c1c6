from __future__ import annotations

from typing import Any

import pytest

from tasks.errors import ConfigurationError, MessageError
from tasks.messages import Order, Response, Status
from tasks.orders.kind import OrderKind


class AgesResponse(Response):
    mean: float


class AgesOrder(Order):
    name = "ages"
    response = AgesResponse


ORDER = AgesOrder(
    order_id="anna/run/1/ages",
    run_id="run",
    client_id="anna",
    round_number=1,
    workload="w",
    timeout_s=1.0,
    deadline=1.0,
)


def nothing(_: object, order: Order) -> Response:
    return order.respond()


def test_an_answer_says_whose_it_is_and_to_what() -> None:
    # Given an order, when it is answered, then the answer has its fields, and those of its kind
    assert ORDER.respond(mean=40.5) == AgesResponse(
        order_id="anna/run/1/ages", client_id="anna", status=Status.DONE, mean=40.5
    )


def test_an_answer_without_its_kinds_fields_is_refused() -> None:
    with pytest.raises(MessageError, match=r"^AgesResponse: mean: Field required$"):
        ORDER.respond()


@pytest.mark.parametrize("status", [Status.FAILED, Status.REJECTED, Status.LOST])
def test_where_no_answer_can_be_given_the_reason_is_all(status: Status) -> None:
    response = ORDER.respond(status, reason="no luck")
    assert (type(response), response.reason) == (Response, "no luck")


def named(name: object) -> type[Order]:
    return type("Named", (Order,), {"name": name, "__annotations__": {}})


@pytest.mark.parametrize("name", ["ages", "a", "a" * 40, "mean_age_2"])
def test_a_name_that_can_stand_in_keys_is_taken(name: str) -> None:
    assert OrderKind(named(name), nothing).order.name == name


@pytest.mark.parametrize("name", ["", "Ages", "2nd", "mean age", "a/b", "a" * 41, "ä", "a\n", None, 3])
def test_any_other_name_is_refused(name: object) -> None:
    with pytest.raises(ConfigurationError, match=r"name is .*: 1 to 40 of a-z, 0-9 and '_' are allowed"):
        OrderKind(named(name), nothing)


@pytest.mark.parametrize("order", [None, dict, Order, ORDER])
def test_what_is_no_order_of_a_kind_is_refused(order: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"OrderKind|name is None"):
        OrderKind(order, nothing)
