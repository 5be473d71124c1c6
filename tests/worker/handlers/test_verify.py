from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks.arrays import Arrays
from tasks.blobs.chunks import MemoryChunks
from tasks.context import Context
from tasks.evaluation import Evaluation
from tasks.messages import Status
from tasks.orders.verify import VerifyOrder
from tests.support import Pull, evaluate_order
from tests.worker.asked import (
    published,
    to_evaluate,
)
from worker.client import Client
from worker.handlers import evaluate, verify


def to_verify(chunks: MemoryChunks) -> VerifyOrder:
    return VerifyOrder.model_validate({**evaluate_order(parameters=published(chunks)).model_dump(), "attempt": 1})


def judging(client: Client, accuracy: float | None) -> Client:
    """A client that finds every model as good as this."""

    class Judging(Pull):
        def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
            return Evaluation(0.5, accuracy, len(data))

    return replace(client, workload=Judging())


def test_a_score_is_the_accuracy_on_the_client_s_own_training_examples(client: Client, chunks: MemoryChunks) -> None:
    # Given a client with two training examples, when it is to score an update, then it says how good that is on them
    response = verify.handle(judging(client, 0.25), to_verify(chunks))
    assert (response.status, response.metrics, response.num_examples) == (Status.SCORED, {"score": 0.25}, 2)


@pytest.mark.parametrize(("accuracy", "given"), [(None, "none"), (65.0, "65"), (-1.0, "-1"), (float("nan"), "nan")])
def test_without_an_accuracy_there_is_no_score_and_the_order_fails(
    client: Client, chunks: MemoryChunks, accuracy: float | None, given: str
) -> None:
    # Given a workload that gives no accuracy, or one that is no share
    client = judging(client, accuracy)
    # When it is to score an update, then the order fails and says why
    response = verify.handle(client, to_verify(chunks))
    assert (response.status, response.metrics) == (Status.FAILED, {})
    assert response.reason == f"a score needs an accuracy from 0 to 1, and the workload gives {given}"
    # And when it is to evaluate a model, then the loss is all
    assert evaluate.handle(client, to_evaluate(chunks)).metrics == {"loss": 0.5}
