from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.announcement import Announcement
from tasks.errors import MessageError
from tasks.messages import Order, Response, Status, TrainOptions, decode, encode
from tasks.metrics import NAME_PATTERN
from tasks.orders.disconnect import DisconnectOrder
from tasks.orders.set_parameters import SetParametersOrder
from tasks.orders.train import TrainOrder
from tasks.protocol import PROTOCOL
from tests.support import DIGEST, announcement, blob_ref, evaluate_order, train_order, trained

COMMON = {
    "order_id": "anna/run/2/train",
    "run_id": "run",
    "client_id": "anna",
    "round_number": 2,
    "workload": "digits",
    "timeout_s": 60.0,
    "deadline": 1e12,
}
ORDERS = [
    train_order(),
    evaluate_order(),
    SetParametersOrder.model_validate({**COMMON, "parameters": blob_ref()}),
    DisconnectOrder.model_validate(
        {**COMMON, "incarnation": "first", "message": "the run is completed", "reconnect_after_s": 5.0}
    ),
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_orders_come_out_of_json_as_they_went_in(order: Order) -> None:
    # Given an order of each kind, when it goes through JSON and back, then it is the same
    assert decode(type(order), json.loads(json.dumps(encode(order)))) == order


@given(
    status=st.sampled_from(Status),
    num_examples=st.integers(0, 10**12),
    num_steps=st.integers(0, 10**12),
    num_epochs=st.floats(0, allow_infinity=False),
    reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    metrics=st.dictionaries(
        st.from_regex(re.compile(NAME_PATTERN, re.ASCII), fullmatch=True).filter(lambda name: len(name) <= 100),
        st.floats(allow_nan=False, allow_infinity=False),
        max_size=3,
    ),
)
def test_answers_come_out_of_json_as_they_went_in(**values: object) -> None:
    # Given any answer, when it goes through JSON and back, then it is the same
    response = Response.model_validate({"order_id": "anna/run/1/train", "client_id": "anna", **values})
    assert decode(Response, json.loads(json.dumps(encode(response)))) == response


def test_a_trained_answer_is_this_json() -> None:
    # Given the answer of a client that trained
    response = trained(train_order(), reason="all of it", metrics={"train_loss": 0.25})
    # When it is encoded, then it is plain JSON with the reference to the update
    assert encode(response) == {
        "protocol": 2,
        "order_id": "client/anna/run/1/train",
        "client_id": "anna",
        "status": "trained",
        "reason": "all of it",
        "num_examples": 5,
        "num_steps": 10,
        "num_epochs": 0.0,
        "metrics": {"train_loss": 0.25},
        "duration_s": 0.0,
        "cpu_s": 0.0,
        "update": {"name": "fl:blob:update/anna/run/1", "size_bytes": 100, "digest": DIGEST},
    }


def test_the_message_about_a_message_is_short() -> None:
    # Given an answer with a metric whose name has ten thousand letters, when it is decoded, then 500 are enough
    said = {"protocol": PROTOCOL, "order_id": "o", "client_id": "anna", "status": "trained"}
    with pytest.raises(MessageError) as caught:
        decode(Response, {**said, "metrics": {"x" * 10_000: "1"}})
    assert len(str(caught.value)) == 500


@pytest.mark.parametrize("timeout_s", [0, -1, 43_200.1, 1e300, math.inf, math.nan])
def test_an_order_gives_a_client_some_time_but_not_forever(timeout_s: float) -> None:
    # Given a timeout that is none, when an order is made with it, then it is refused
    with pytest.raises(ValidationError, match="timeout_s"):
        train_order(timeout_s=timeout_s)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"epochs": 100_001},
        {"batch_size": 0},
        {"learning_rate": 0},
        {"learning_rate": -0.1},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"momentum": 0.9},
    ],
)
def test_options_out_of_range_are_refused(change: dict[str, object]) -> None:
    # Given one option that is out of range, when the options are made, then they are refused
    with pytest.raises(ValidationError, match="1 validation error"):
        TrainOptions.model_validate(change)


def test_messages_cant_be_changed() -> None:
    # Given an order, when its seed is to be changed, then that fails
    order = train_order()
    with pytest.raises(ValidationError, match="frozen"):
        order.seed = 8


def test_what_a_later_version_orders_beside_is_passed_over() -> None:
    # Given an order with options that aren't known, when it is decoded, then it is the one without them
    later = encode(train_order())
    later |= {"later": 1, "study": {**later["study"], "options": {"momentum": 0.9}}}  # type: ignore[dict-item]
    assert decode(TrainOrder, later) == train_order()


def test_an_order_of_another_protocol_is_refused_with_both() -> None:
    # Given an order of a later protocol, whose fields may have another meaning, when it is decoded, then that is said
    later = encode(train_order()) | {"protocol": 3, "order_id": ["one", "two"]}
    with pytest.raises(MessageError, match=r"^TrainOrder: it speaks protocol 3, here it is 2 \(celeriac .*upgrade the"):
        decode(TrainOrder, later)


@pytest.mark.parametrize("run_id", ["run", "20261129-101530-a1b2", "a" * 64])
def test_a_runs_id_may_be_what_a_clients_may(run_id: str) -> None:
    # Given ids as they are made, when an order is read, then they are taken
    assert decode(TrainOrder, {**encode(train_order()), "run_id": run_id}).run_id == run_id


@pytest.mark.parametrize("run_id", ["../../../evil", "/etc", "..", "", "a/b", "a" * 65, "run\n", ".hidden"])
def test_a_runs_id_that_is_a_path_is_refused(run_id: str) -> None:
    # Given an order whose run is called like a path, when it is read, then it is refused: clients keep files by it
    with pytest.raises(MessageError, match="TrainOrder: run_id: String should match pattern"):
        decode(TrainOrder, {**encode(train_order()), "run_id": run_id})


def test_what_an_older_client_announces_without_a_protocol_is_of_the_first() -> None:
    # Given an announcement that says nothing of a protocol, when it is read, then it isn't taken for one of this
    said = announcement("anna").model_dump()
    assert said.pop("protocol") == PROTOCOL
    assert Announcement.model_validate(said).protocol == 1
