"""The result backend, on a real server."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from celery import states
from celery.worker import state
from redis import Redis
from redis.exceptions import ConnectionError as LostConnectionError

from tasks.broker import over_kombu
from tasks.broker.app import make_app
from tasks.scope import result_key
from tests.integration import harness
from tests.integration.harness import url

pytestmark = pytest.mark.filterwarnings(
    "ignore:Call to deprecated setex:DeprecationWarning"
)  # it is Celery that calls it


def test_who_was_told_to_end_doesnt_try_for_ever_to_store_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a broker that is gone
    with harness.server() as server:
        app = make_app("stores", url(server.client), include=())
        app.conf.update(redis_socket_connect_timeout=0.1, result_backend_transport_options={
            **app.conf.result_backend_transport_options, "retry_policy": {"max_retries": 0},
        })  # fmt: skip
        monkeypatch.setattr(over_kombu, "LAST_TRY_S", 0.5)
    backend: Any = app.backend
    tried: list[int] = []

    def pause(_: float) -> None:
        tried.append(len(tried))
        if len(tried) == 3:
            monkeypatch.setattr(state, "should_stop", 0)
        assert len(tried) < 1000
        time.sleep(0.01)

    monkeypatch.setattr(backend, "_sleep", pause)
    # When a worker's main process stores what became of an order, and is told to end meanwhile
    with pytest.raises(LostConnectionError):
        backend.mark_as_failure("run/one", ValueError("lost"))
    # Then it tries on for a while, and gives up
    assert len(tried) > 3


@pytest.fixture
def backend(broker: Redis) -> Any:
    return make_app("stores", url(broker), include=()).backend


def test_a_result_is_stored_and_told(broker: Redis, backend: Any) -> None:
    # Given somebody who listens
    listener = broker.pubsub()  # type: ignore[no-untyped-call]  # redis has no types for it
    listener.subscribe(result_key("run/one"))
    assert listener.get_message(timeout=harness.PATIENCE_S)["type"] == "subscribe"
    # When a success is stored
    backend.store_result("run/one", {"status": "trained"}, states.SUCCESS)
    # Then it is there as Celery writes it, and told of as it is there
    stored = harness.stored(broker, result_key("run/one"))
    document = json.loads(stored)
    assert (document["task_id"], document["status"], document["result"]) == (
        "run/one",
        "SUCCESS",
        {"status": "trained"},
    )
    assert broker.ttl(result_key("run/one")) > 0
    assert listener.get_message(timeout=harness.PATIENCE_S)["data"] == stored
    listener.close()


def test_a_failure_that_is_told_of_later_does_not_take_a_successs_place(broker: Redis, backend: Any) -> None:
    # Given a task whose process stored its result, when the process is lost after that, then the result stays
    backend.store_result("run/one", 1, states.SUCCESS)
    backend.store_result("run/one", ValueError("the process is lost"), states.FAILURE)
    assert json.loads(harness.stored(broker, result_key("run/one")))["result"] == 1
    # And where there was none, the failure is stored, until there is a success
    backend.store_result("run/two", ValueError("the process is lost"), states.FAILURE)
    assert json.loads(harness.stored(broker, result_key("run/two")))["status"] == "FAILURE"
    backend.store_result("run/two", 2, states.SUCCESS)
    assert json.loads(harness.stored(broker, result_key("run/two")))["result"] == 2
