"""Evaluating a model."""

from __future__ import annotations

from tasks.messages import Response, Status
from tasks.orders.evaluate import EvaluateOrder
from worker.client import Client


def handle(client: Client, order: EvaluateOrder) -> Response:
    """Evaluate the order's parameters on the examples that the client holds out."""
    evaluation = client.evaluate(order, client.data.test)
    if problem := evaluation.problem():
        return order.respond(Status.FAILED, reason=problem)
    return order.respond(Status.EVALUATED, num_examples=evaluation.num_examples, metrics=evaluation.shown())
