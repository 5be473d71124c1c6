from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Ignore
from hypothesis import example, given
from hypothesis import strategies as st

import worker.tasks  # noqa: F401  (has the app have the tasks)
from orchestrator.driver.collector import ended_with_its_process
from orchestrator.driver.context import own_result
from orchestrator.store.records import Evaluated
from orchestrator.transport.responses import read_response, says_ready
from tasks.blobs.chunks import MemoryChunks
from tasks.broker.app import make_app
from tasks.messages import Order, Response, decode, encode
from tasks.names import order_task
from tasks.orders.disconnect import DisconnectOrder
from tasks.orders.set_parameters import SetParametersOrder
from tasks.orders.statistics import StatisticsOrder
from tasks.orders.train import TrainOrder
from tasks.orders.verify import VerifyOrder
from tasks.statistics import Statistics, put_together
from tests.fuzz.bounds import SOME, read
from tests.fuzz.mutations import mutated_document, mutated_json
from tests.support import PULL, Pull, blob_ref, evaluate_order, points, survey_order, surveyed, train_order, trained
from worker.client import Client
from worker.serving import Serving

_TRAIN = train_order(broadcast=blob_ref("fl:blob:model/run/0/broadcast"), settings={"mu": 0.5}, waits_for_turn=True)
_EVALUATE, _SURVEY = evaluate_order("anna"), survey_order()
_COMMON = _TRAIN.model_dump(include={"run_id", "client_id", "round_number", "workload", "timeout_s", "deadline"})
_STATISTICS = StatisticsOrder.model_validate(
    {**_COMMON, "order_id": "anna/run/0/statistics", "edges": {"age": (0.0, 10.0, 20.0)}, "min_count": 1}
)
_ORDERS: tuple[Order, ...] = (
    _TRAIN,
    _EVALUATE,
    _SURVEY,
    _STATISTICS,
    VerifyOrder.model_validate({**encode(_EVALUATE), "order_id": "anna/run/1/verify"}),
    SetParametersOrder.model_validate({**_COMMON, "order_id": "anna/run/1/set", "parameters": blob_ref()}),
    DisconnectOrder.model_validate(
        {**_COMMON, "order_id": "anna/run/1/disconnect", "incarnation": "first", "message": "the run is over"}
    ),
)
_TOLD = {
    "order_id": _STATISTICS.order_id,
    "client_id": "anna",
    "status": "done",
    "min_count": 1,
    "known": ["age", "sex"],
    "columns": {
        "age": {
            "kind": "numbers",
            "count": 3,
            "missing": 1,
            "mean": 4.5,
            "squares": 2.0,
            "bins": {"starts": [0, 1, 2, 3], "counts": [0, 2, 1, 0]},
        },
        "sex": {"kind": "groups", "count": 3, "missing": 0, "groups": {"f": 2, "m": 1}, "other": 0},
    },
}


def stored(result: object, status: str = "SUCCESS") -> dict[str, object]:
    """What Celery's backend stores."""
    return {"status": status, "result": result, "traceback": None, "children": [], "task_id": "anna/run/1/train"}


_ANSWERS: tuple[tuple[Order, dict[str, object]], ...] = (
    (_TRAIN, stored(encode(trained(_TRAIN, metrics={"train_loss": 0.5}, num_epochs=1.0)))),
    (_TRAIN, stored({"order": 1}, "READY")),
    (_SURVEY, stored(encode(surveyed(_SURVEY)))),
    (_EVALUATE, stored({**_TOLD, "order_id": _EVALUATE.order_id, "status": "evaluated", "metrics": {"loss": 1}})),
    (_STATISTICS, stored(_TOLD)),
    (_TRAIN, stored({"exc_type": "WorkerLostError", "exc_message": ["signal 9 (SIGKILL)"]}, "FAILURE")),
)


@pytest.mark.parametrize("order", _ORDERS, ids=lambda order: order.name)
def test_an_order_is_carried_out_or_refused_whatever_it_says(order: Order) -> None:
    @SOME
    @given(mutated_document(st.just(encode(order))))
    def check(message: Any) -> None:
        # When a client reads it, then an order that is one can be answered and told of
        found = read(lambda: decode(type(order), message), len(json.dumps(message)))
        if found is not None:
            json.dumps(encode(found)).encode()

    check()


@SOME
@given(st.sampled_from(_ANSWERS).flatmap(lambda pair: st.tuples(st.just(pair[0]), mutated_json(st.just(pair[1])))))
def test_an_answer_is_taken_or_refused_whatever_it_says(pair: tuple[Order, bytes]) -> None:
    order, raw = pair
    # When the orchestrator reads it, as bytes or as text
    read(lambda: says_ready(raw, order), len(raw))
    found = read(lambda: read_response(raw, order, 100), len(raw))
    # Then it is an answer to that order, which can be kept
    assert isinstance(found, Response)
    assert (found.order_id, found.client_id) == (order.order_id, order.client_id)
    found.model_dump_json().encode()


@SOME
@given(st.lists(mutated_document(st.just(_TOLD)), min_size=1, max_size=4))
def test_what_clients_tell_of_their_columns_is_put_together_whatever_they_tell(told: list[Any]) -> None:
    # Given what clients tell, each by its own name
    responses = []
    for number, each in enumerate(told):
        named = {**each, "client_id": f"client-{number}"} if isinstance(each, dict) else each
        order = _STATISTICS.model_copy(update={"client_id": f"client-{number}"})
        responses.append(read_response(json.dumps(stored(named)), order))
    # When it is put together, then it can be kept, or nobody has told anything
    found = read(lambda: put_together(responses, 1, _STATISTICS.edges, (0.0, 0.5, 1.0)), len(json.dumps(told)))
    if found is not None:
        assert Statistics.model_validate_json(found.model_dump_json()) == found


@SOME
@given(mutated_json(st.just(stored({"metrics": {"loss": 0.5}, "duration_s": 0.1}))))
@example(b"something else than a string")  # stands for what isn't one
def test_what_an_own_task_returned_is_taken_or_the_run_fails_whatever_it_is(raw: bytes) -> None:
    read(lambda: ended_with_its_process(raw), len(raw))
    read(lambda: own_result(raw, Evaluated, "it could not be evaluated"), len(raw))


def test_a_message_is_answered_whatever_it_is(tmp_path: Path) -> None:
    # Given the task of a worker that serves anna
    app = make_app("tasks", "memory://", include=())
    app.finalize()
    app.serving = Serving()
    app.serving.add(Client("anna", PULL, Pull(), points("anna", 3), MemoryChunks(), tmp_path, "first"))
    task = app.tasks[order_task(TrainOrder.name)]

    @SOME
    @given(mutated_document(st.just(encode(_TRAIN))))
    @example("no order")
    def check(message: Any) -> None:
        # When somebody puts a message into its queue
        task.push_request(id="an order")
        try:
            answer = read(lambda: task(message), len(json.dumps(message)))
        except Ignore:  # its time was over long ago
            return
        finally:
            task.pop_request()
        # Then what it answers can be sent
        assert answer is not None
        json.dumps(answer).encode()

    check()
