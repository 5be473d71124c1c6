"""Federated evaluation: clients evaluate a model on their own held-out data, which nobody else sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.driver.context import RunContext
from tasks.messages import Answer, EvaluateOrder, Metrics, Status, finite


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
    parameters = context.publish_model(round_number)
    term = context.term(context.config.timeout_s, incarnations)
    orders = [
        context.order(EvaluateOrder, client_id, round_number, term, parameters=parameters)
        for client_id in sorted(incarnations)
    ]
    answers = context.collector.ask(orders, term.total_s, lambda: context.publish_model(round_number))
    context.wire.blobs.discard([parameters.name], parameters.size_bytes)
    evaluated = [answer for answer in answers if answer.status is Status.EVALUATED]
    others = {answer.client_id: answer.reason for answer in answers if answer.status is not Status.EVALUATED}
    return ClientEvaluations(mean_metrics(evaluated), len(evaluated), others)


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
