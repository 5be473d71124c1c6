"""Federated evaluation: clients evaluate a model on their own held-out data, which nobody else sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.config import cohort_size
from orchestrator.driver.context import RunContext
from orchestrator.driver.model_publisher import publish_model
from orchestrator.driver.orders import for_study, make_order, time_limits
from orchestrator.store.facts import METRICS
from orchestrator.store.records import RoundRecord
from tasks.messages import Response, Status
from tasks.metrics import Declared, averaged, out_of_range, spread_of
from tasks.orders.evaluate import EvaluateOrder
from tasks.seeds import generator


def evaluated_by_clients(context: RunContext, record: RoundRecord, incarnations: Mapping[str, str]) -> RoundRecord:
    """Have clients evaluate the model that a round ended with, and return its record with what they found.

    Args:
        context: The run's.
        record: The round's.
        incarnations: Client id -> incarnation, of the clients that are connected; the run's share of them is asked.
    """
    round_number, asked = record.round_number, _drawn(context, record.round_number, sorted(incarnations))
    incarnations = {client_id: incarnations[client_id] for client_id in asked}
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
            **for_study(context, client_id, round_number, len(asked)),
        )
        for client_id in asked
    ]
    responses = context.collector.ask(orders, limits.total_s, lambda: publish_model(context, round_number))
    context.services.blobs.discard([parameters.name], parameters.size_bytes)
    declared, manager = METRICS.of(context.folder), context.manager
    found = {each.client_id: each for each in responses if not _why_not(each, declared)}
    others = {each.client_id: why for each in responses if (why := _why_not(each, declared))}
    told = [
        (min(each.num_examples, manager.most_evaluated(client_id)), each.metrics) for client_id, each in found.items()
    ]
    averages = averaged(told, declared)
    return record.model_copy(
        update={
            "client_metrics": averages.metrics,
            "client_partial": averages.partial,
            "client_spread": spread_of([metrics for _, metrics in told], declared),
            "client_evaluations": {client_id: each.metrics for client_id, each in found.items()},
            "num_evaluated": len(found),
            "not_evaluated": others,
        }
    )


def _why_not(response: Response, declared: Declared) -> str:
    """Return why a client's answer doesn't count; empty if it does."""
    if response.status is not Status.EVALUATED:
        return response.reason or str(response.status)
    return out_of_range(response.metrics, declared)


def _drawn(context: RunContext, round_number: int, client_ids: Sequence[str]) -> list[str]:
    """Return the clients that are to evaluate a round's model, by id."""
    config = context.config
    number = cohort_size(config.evaluate_clients_fraction, len(client_ids))
    rng = generator(config.seed, round_number, "evaluation at clients")
    return sorted(rng.permutation(client_ids)[:number].tolist())
