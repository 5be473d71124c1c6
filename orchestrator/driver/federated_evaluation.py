"""Federated evaluation: clients evaluate a model on their own held-out data, which nobody else sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.driver.context import RunContext
from orchestrator.driver.model_publisher import publish_model
from orchestrator.driver.orders import for_study, make_order, time_limits
from tasks.messages import Status
from tasks.metrics import Averages, averaged
from tasks.orders.evaluate import EvaluateOrder


@dataclass(frozen=True, slots=True)
class ClientEvaluations:
    """What clients say of a model.

    Attributes:
        averages: The averages of their metrics, over those that evaluated it.
        num_evaluated: How many did.
        not_evaluated: Who else was asked, and why it gave no evaluation.
    """

    averages: Averages
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
    told = [(response.num_examples, response.metrics) for response in evaluated]
    return ClientEvaluations(averaged(told, context.folder.declared()), len(evaluated), others)
