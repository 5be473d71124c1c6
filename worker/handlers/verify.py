"""Scoring another client's update."""

from __future__ import annotations

import math

from tasks.messages import Response, Status
from tasks.orders.verify import VerifyOrder
from tasks.user_code import checked_declared
from worker.client import Client


def handle(client: Client, order: VerifyOrder) -> Response:
    """Score another client's update: by what the workload says of it on this client's own training examples.

    They are more than those that the client holds out, and as new to the update's trainer. Where they give no number to
    score by, the order fails.
    """
    evaluation = client.evaluate(order, client.data.train)
    declared = checked_declared(client.workload)
    name = evaluation.judged_by(declared)
    score = evaluation.score(name, declared)
    if not math.isfinite(score):
        given = evaluation.values.get(name)
        shown = "none" if given is None else f"{given:g}"
        return order.respond(Status.FAILED, reason=f"a score needs the metric {name}, and evaluate() gives {shown}")
    return order.respond(Status.SCORED, num_examples=evaluation.num_examples, metrics={"score": score})
