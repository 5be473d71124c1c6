"""Scoring another client's update."""

from __future__ import annotations

import math

from tasks.messages import Response, Status
from tasks.orders.verify import VerifyOrder
from worker.client import Client


def handle(client: Client, order: VerifyOrder) -> Response:
    """Score another client's update: its accuracy on this client's own training examples.

    They are more than those that the client holds out, and as new to the update's trainer. Where the workload gives no
    accuracy, the order fails.
    """
    evaluation = client.evaluate(order, client.data.train)
    score, accuracy = evaluation.share_right, evaluation.accuracy
    if math.isnan(score):
        given = "none" if accuracy is None else f"{accuracy:g}"
        reason = f"a score needs an accuracy from 0 to 1, and the workload gives {given}"
        return order.respond(Status.FAILED, reason=reason)
    return order.respond(Status.SCORED, num_examples=evaluation.num_examples, metrics={"score": score})
