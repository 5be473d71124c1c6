from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from celery.exceptions import Ignore

import worker.tasks  # noqa: F401  (has the app have the tasks)
from tasks import arrays
from tasks.blobs import blob
from tasks.blobs.chunks import MemoryChunks
from tasks.broker.app import make_app
from tasks.messages import encode
from tasks.names import order_task
from tasks.orders.train import TrainOrder
from tasks.trust.keys import new_key
from tasks.trust.signing import ANSWER, Site, check_signed, signed_order
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


def test_loading_the_data_of_one_of_many_is_in_the_time_of_its_order_that_comes_with_others(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a client of many, whose data isn't loaded
    left_s: list[float] = []

    def load() -> Client:
        left_s.append(signal.getitimer(signal.ITIMER_REAL)[0])
        client: Client = replace(train.app.serving.find("anna"), client_id="carl")
        return client

    train.app.serving.add_later("carl", load)
    answers: dict[str, Any] = {}
    monkeypatch.setattr(train.backend, "store_together", answers.update, raising=False)
    # When its order comes with what is no order, then its time runs as its data is loaded, and both are answered
    order = train_order("carl", deadline=NOW + 9, timeout_s=60.0)
    assert train([{"order_id": "another"}, encode(order)]) is None
    assert left_s
    assert all(0 < left <= 60 for left in left_s)
    assert [answers[order_id]["client_id"] for order_id in ("another", order.order_id)] == ["None", "carl"]
    # And then no time runs any more
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.fixture
def site(train: Any) -> Site:
    """The keys of anna's site, which has the task check orders and sign answers."""
    orchestrator = new_key()
    train.app.serving.site = site = Site(new_key(), orchestrator.public_key())
    train.app.orchestrator = orchestrator
    return site


def _answer(train: Any, message: object, task_id: str) -> dict[str, Any]:
    train.push_request(id=task_id)
    answer: dict[str, Any] = train(message)
    train.pop_request()
    check_signed(ANSWER, json.loads(json.dumps(answer)), train.app.serving.site.key.public_key())
    return answer


def test_a_signed_order_is_carried_out_and_its_answer_signed(train: Any, site: Site) -> None:
    order = order_for(train)
    answer = _answer(train, signed_order("train", encode(order), train.app.orchestrator), order.order_id)
    assert answer["status"] == "trained"


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (lambda message, key: message, "it isn't signed"),
        (lambda message, key: signed_order("train", message, new_key()), "its signature isn't right"),
        (lambda message, key: signed_order("evaluate", message, key), "its signature isn't right"),
        (lambda message, key: {**signed_order("train", message, key), "timeout_s": 9.5}, "its signature isn't right"),
        (lambda message, key: signed_order("train", {**message, "order_id": "another"}, key), "isn't the one of task"),
    ],
    ids=["unsigned", "by another", "of another kind", "changed", "under another's id"],
)
def test_an_order_that_the_orchestrator_did_not_sign_is_not_carried_out(
    train: Any, site: Site, forge: Callable[[dict[str, Any], Any], dict[str, Any]], reason: str
) -> None:
    order = order_for(train)
    answer = _answer(train, forge(encode(order), train.app.orchestrator), order.order_id)
    assert answer["status"] == "failed"
    assert reason in answer["reason"]


def order_for(train: Any) -> TrainOrder:
    """An order to train that anna can carry out."""
    client = train.app.serving.find("anna")
    point = {"point": np.zeros(3, np.float32), "steps": np.array(0)}
    model = blob.publish(client.blobs, "fl:blob:model/run/0", arrays.encode(point))
    return train_order("anna", deadline=NOW + 9, parameters=model)
