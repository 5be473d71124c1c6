"""Federated evaluation: clients evaluate a model on their own held-out data, which nobody else sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.collecting import GRACE_S
from orchestrator.context import RunContext
from orchestrator.slots import Slots
from tasks import names
from tasks.messages import Answer, EvaluateOrder, Metrics, Status, finite


def evaluate_at_clients(context: RunContext, round_number: int, incarnations: Mapping[str, str]) -> Metrics:
    """Have clients evaluate the model that a round ended with; return the means weighted by examples.

    Clients that fail or vanish are left out; with none, the result is empty.
    """
    timeout_s = context.config.timeout_s
    parameters = context.publish_model(round_number)
    term = context.term(timeout_s)
    orders = [
        context.order(EvaluateOrder, client_id, round_number, term, parameters=parameters)
        for client_id in sorted(incarnations)
    ]
    slots = Slots(orders, incarnations)
    context.collector.send(names.EVALUATE_TASK, orders)
    context.collector.collect(names.EVALUATE_TASK, slots, timeout_s + GRACE_S)
    context.wire.courier.forget([order.order_id for order in orders])
    context.wire.blobs.discard([parameters.name], parameters.size_bytes)
    return mean_metrics([answer for _, answer in slots.filled() if answer.status is Status.EVALUATED])


def mean_metrics(answers: Sequence[Answer]) -> Metrics:
    """Return sum_k(n_k m_k) / sum_k(n_k) of each metric that all the answers have, n_k being their examples."""
    total = sum(answer.num_examples for answer in answers)
    if total == 0:
        return {}
    shared = set.intersection(*(set(answer.metrics) for answer in answers))
    means = {
        name: sum(answer.num_examples / total * answer.metrics[name] for answer in answers) for name in sorted(shared)
    }
    return finite(means)
