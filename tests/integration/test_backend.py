"""The result backend, on a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import states
from redis import Redis

from tasks.broker.app import make_app
from tasks.scope import result_key
from tests.integration import harness
from tests.integration.harness import url

pytestmark = pytest.mark.filterwarnings(
    "ignore:Call to deprecated setex:DeprecationWarning"
)  # it is Celery that calls it


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
