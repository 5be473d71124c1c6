from __future__ import annotations

import pytest

from tasks.tracing import span_id, trace_id
from worker.tracing import traced_order

ORDER = {"run_id": "run", "client_id": "anna", "round_number": 3}


def test_a_training_is_a_child_of_its_order_and_another_order_of_its_round() -> None:
    train, evaluate = traced_order("worker.train", [ORDER], {}), traced_order("worker.evaluate", [ORDER], {})
    assert train is not None
    assert evaluate is not None
    assert (train.name, train.parent) == ("train", ("3", "anna"))
    assert (evaluate.name, evaluate.parent) == ("evaluate", ("3",))


@pytest.mark.parametrize("message", [None, "text", [], {}, {**ORDER, "run_id": 5}, {**ORDER, "round_number": "3"}])
def test_a_message_that_is_no_order_is_no_span(message: object) -> None:
    assert traced_order("worker.train", [message], {}) is None
    assert traced_order("worker.train", [], {}) is None


def test_ids_differ_by_run_round_and_client() -> None:
    # Given names of spans, when their ids are taken, then no two are alike, and each has the length that it may have
    ids = [span_id("run"), span_id("run", "1"), span_id("run", "1", "anna"), span_id("run", "2"), span_id("other", "1")]
    assert len(set(ids)) == len(ids)
    assert all(0 < each < 2**64 for each in ids)
    assert trace_id("run") != trace_id("other")
    assert trace_id("run") < 2**128
