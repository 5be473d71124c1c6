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
            return Evaluation(0.5, len(data), {} if accuracy is None else {"accuracy": accuracy})

    return replace(client, workload=Judging())


def test_a_score_is_the_accuracy_on_the_client_s_own_training_examples(client: Client, chunks: MemoryChunks) -> None:
    # Given a client with two training examples, when it is to score an update, then it says how good that is on them
    response = verify.handle(judging(client, 0.25), to_verify(chunks))
    assert (response.status, response.metrics, response.num_examples) == (Status.SCORED, {"score": 0.25}, 2)


def test_without_an_accuracy_the_score_is_by_the_loss(client: Client, chunks: MemoryChunks) -> None:
    # Given a workload that gives a loss of 0.5 alone, when it is to score an update, then that is 1 / (1 + 0.5)
    response = verify.handle(judging(client, None), to_verify(chunks))
    assert response.status is Status.SCORED
    assert response.metrics == {"score": pytest.approx(2 / 3)}


def test_without_a_number_there_is_no_score_and_the_order_fails(client: Client, chunks: MemoryChunks) -> None:
    # Given a workload that gives an accuracy which is no number
    client = judging(client, float("nan"))
    # When it is to score an update, then the order fails and says why
    response = verify.handle(client, to_verify(chunks))
    assert (response.status, response.metrics) == (Status.FAILED, {})
    assert response.reason == "a score needs the metric accuracy, and evaluate() gives nan"
    # And when it is to evaluate a model, then the loss is all
    assert evaluate.handle(client, to_evaluate(chunks)).metrics == {"loss": 0.5}
