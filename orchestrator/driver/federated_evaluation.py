"""Federated evaluation: clients evaluate a model on their own held-out data, which nobody else sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.driver.context import RunContext
from orchestrator.driver.model_publisher import publish_model
from orchestrator.driver.orders import for_study, make_order, time_limits
from tasks.messages import Response, Status
from tasks.metrics import Metrics, finite
from tasks.orders.evaluate import EvaluateOrder


@dataclass(frozen=True, slots=True)
class ClientEvaluations:
    """What clients say of a model.

    Attributes:
        metrics: The means weighted by examples, over those that evaluated it; empty if none did.
        num_evaluated: How many did.
        not_evaluated: Who else was asked, and why it gave no evaluation.
    """

    metrics: Metrics
    num_evaluated: int
    not_evaluated: Mapping[str, str]


def evaluate_at_clients(context: RunContext, round_number: int, incarnations: Mapping[str, str]) -> ClientEvaluations:
    """Have clients evaluate the model that a round ended with."""
    parameters = publish_model(context, round_number)
    limits = time_limits(context, context.config.timeout_s, incarnations)
    orders = [
        make_order(
            context,
            EvaluateOrder,
            client_id,
            round_number,
            limits,
            parameters=parameters,
            **for_study(context, client_id, round_number, len(incarnations)),
        )
        for client_id in sorted(incarnations)
    ]
    responses = context.collector.ask(orders, limits.total_s, lambda: publish_model(context, round_number))
    context.services.blobs.discard([parameters.name], parameters.size_bytes)
    evaluated = [response for response in responses if response.status is Status.EVALUATED]
    others = {response.client_id: response.reason for response in responses if response.status is not Status.EVALUATED}
    return ClientEvaluations(mean_metrics(evaluated), len(evaluated), others)


def mean_metrics(responses: Sequence[Response]) -> Metrics:
    """Return sum_k(n_k m_k) / sum_k(n_k) of each metric that all the answers have, n_k being their examples."""
    total = sum(response.num_examples for response in responses)
    if total == 0:
        return {}
    shared = set.intersection(*(set(response.metrics) for response in responses))
    means = {
        name: sum(response.num_examples / total * response.metrics[name] for response in responses)
        for name in sorted(shared)
    }
    return finite(means)
