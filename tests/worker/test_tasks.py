from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Ignore

import worker.tasks  # noqa: F401  (has the app have the tasks)
from tasks.blobs.chunks import MemoryChunks
from tasks.broker.app import make_app
from tasks.messages import encode
from tasks.names import order_task
from tasks.orders.train import TrainOrder
from tasks.user_code import UserCodeError
from tests.support import PULL, Pull, blob_ref, points, train_order
from worker.client import Client
from worker.connection import Connection
from worker.serving import Serving
from worker.tasks import STALE_S

NOW = 1000.0


class At(Connection):
    """A connection to a broker at which it is 1000 seconds after 1970."""

    def time(self) -> float:
        return NOW


@pytest.fixture
def train(tmp_path: Path) -> Any:
    """The task of a worker that serves anna."""
    app = make_app("tasks", "memory://", include=())
    app.finalize()
    app.serving = Serving()
    app.serving.add(Client("anna", PULL, Pull(), points("anna", 3), MemoryChunks(), tmp_path, "first", At()))
    return app.tasks[order_task(TrainOrder.name)]


def test_an_order_whose_round_must_be_over_stores_no_answer(train: Any) -> None:
    # Given an order that a worker got when it was started long after, when it is taken up, then nothing is stored
    with pytest.raises(Ignore):
        train(encode(train_order("anna", deadline=NOW - STALE_S - 0.1)))


def test_an_order_whose_time_has_just_run_out_is_answered_as_failed(train: Any) -> None:
    # Given an order whose slot may be open still, when it is taken up, then its client says that it came too late
    response = train(encode(train_order("anna", deadline=NOW - STALE_S + 0.1)))
    assert response["status"] == "failed"
    assert response["reason"] == "the order's time was over before it was taken up"


def test_an_order_that_says_no_deadline_or_no_client_is_answered_with_what_is_wrong(train: Any) -> None:
    message = encode(train_order("anna"))
    for change, reason in (({"deadline": "soon"}, "deadline"), ({"client_id": "bert"}, "doesn't serve client 'bert'")):
        train.push_request(id="an order")
        response = train({**message, **change})
        train.pop_request()
        assert response["status"] == "failed"
        assert reason in str(response["reason"])


@pytest.mark.parametrize("broadcast_bytes", [2**40, 999_901])
def test_an_order_that_comes_with_more_than_can_be_held_is_refused_unread(train: Any, broadcast_bytes: int) -> None:
    # Given a client with a megabyte of memory, and an order for a model of 100 bytes with more beside it
    client = replace(train.app.serving.find("anna"), memory_bytes=10**6)
    train.app.serving.add(client)
    order = train_order(
        "anna", deadline=NOW + 9, broadcast=blob_ref("fl:blob:model/run/0/b", size_bytes=broadcast_bytes)
    )
    # When it is taken up, then the answer says how much is too much
    train.push_request(id=order.order_id)
    response = train(encode(order))
    train.pop_request()
    assert response["status"] == "failed"
    assert f"comes with {broadcast_bytes + 100} bytes, more than client anna has memory for" in response["reason"]


def test_an_order_to_a_client_whose_data_cant_be_loaded_any_more_is_answered_with_the_reason(train: Any) -> None:
    # Given a client of many, whose data is gone since its worker was started
    def load() -> Client:
        raise UserCodeError("client_data() of carl: OSError: no such device (my_study.py, line 12, in load)")

    train.app.serving.add_later("carl", load)
    # When it gets an order, then it says what is wrong
    train.push_request(id="an order")
    response = train(encode(train_order("carl")))
    train.pop_request()
    assert response["status"] == "failed"
    assert str(response["reason"]).startswith("client_data() of carl: OSError: no such device")
