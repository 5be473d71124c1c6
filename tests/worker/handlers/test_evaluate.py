from __future__ import annotations

from typing import Any

import pytest

from tasks.blobs.chunks import MemoryChunks
from tasks.evaluation import Evaluation
from tasks.messages import Status
from tests.worker.asked import (
    evaluating,
    to_evaluate,
)
from worker.client import Client
from worker.handlers import evaluate
from worker.serving import Serving


def test_evaluating_uses_what_the_client_holds_out(client: Client, chunks: MemoryChunks) -> None:
    # Given held-out points at distances 3/3, 0 and 3/3 from the model's, of which one is nearer than 1
    response = evaluate.handle(client, to_evaluate(chunks))
    # When it is evaluated, then loss and accuracy are 2/3 and 1/3 on three examples
    assert response.status is Status.EVALUATED
    assert response.num_examples == 3
    assert response.metrics == {"loss": pytest.approx(2 / 3), "accuracy": pytest.approx(1 / 3)}
    assert response.update is None


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        (Evaluation("low", 10), "evaluate() returned loss: str is no number"),  # type: ignore[arg-type]
        (Evaluation(None, 10), "evaluate() returned neither a loss nor a metric"),
        (Evaluation(0.5, 10, {"auc": "good"}), "metric 'auc' of evaluate(): str is no number"),  # type: ignore[dict-item]
        (Evaluation(0.5, 10, {"accuracy": 65.0}), "evaluate() returned accuracy 65: a share from 0 to 1 is allowed"),
        (Evaluation(0.5, 10, {"accuracy": -1.0}), "evaluate() returned accuracy -1: a share from 0 to 1 is allowed"),
        (Evaluation(0.5, 10, {"loss": 0.5}), "evaluate() returned a metric 'loss': it is the first argument of Eval"),
        (
            Evaluation(0.5, 10, {"auc\n": 0.5}),
            "evaluate() returned a metric called 'auc\\n': a text of at",
        ),
        (
            Evaluation(0.5, 10, {"x" * 101: 0.5}),
            f"evaluate() returned a metric called '{'x' * 101}': a text of at most",
        ),
        (Evaluation(0.5, 10, {1: 0.5}), "evaluate() returned a metric called 1: a text"),  # type: ignore[dict-item]
        (
            Evaluation(0.5, 10, {f"class {number}": 0.5 for number in range(101)}),
            "evaluate() returned 101 metrics: at most 100 are allowed",
        ),
        (Evaluation(0.5, 2.5), "evaluate() returned num_examples is float: a whole number is needed"),  # type: ignore[arg-type]
        ((0.5, 10), "evaluate() returned tuple: an Evaluation(loss, num_examples, metrics) is needed"),
        (Evaluation(float("nan"), 3, {"accuracy": 0.5}), "the loss is nan"),
        (Evaluation(float("inf"), 3), "the loss is inf"),
        (Evaluation(0.0, 0), "there are no held-out examples"),
    ],
)
def test_what_is_no_evaluation_is_told(client: Client, chunks: MemoryChunks, evaluation: Any, expected: str) -> None:
    # Given a workload that returns something else, when it is to evaluate, then the answer says what
    order = to_evaluate(chunks)
    response = Serving().carry_out(
        lambda: evaluate.handle(evaluating(client, evaluation), order), order.order_id, "anna"
    )
    assert response.status is Status.FAILED
    assert response.reason.startswith(expected)
