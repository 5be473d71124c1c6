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
        (Evaluation(None, 0.5, 10), "evaluate() returned loss: NoneType is no number"),  # type: ignore[arg-type]
        (Evaluation(0.5, "good", 10), "evaluate() returned accuracy: str is no number"),  # type: ignore[arg-type]
        (Evaluation(0.5, 0.5, 2.5), "evaluate() returned num_examples is float: a whole number is needed"),  # type: ignore[arg-type]
        ((0.5, 10), "evaluate() returned tuple: an Evaluation(loss, accuracy, num_examples) is needed"),
        (Evaluation(float("nan"), 0.5, 3), "the loss is nan"),
        (Evaluation(float("inf"), 0.5, 3), "the loss is inf"),
        (Evaluation(0.0, 0.0, 0), "there are no held-out examples"),
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
