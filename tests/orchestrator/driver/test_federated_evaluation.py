from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.federated_evaluation import ClientEvaluations, evaluate_at_clients, mean_metrics
from tasks.messages import Response, Status
from tests.orchestrator.driver.contexts import Clients


def evaluated(num_examples: int, **metrics: float) -> Response:
    return Response(order_id="o", client_id="anna", status=Status.EVALUATED, num_examples=num_examples, metrics=metrics)


def test_means_are_weighted_by_examples_and_of_what_all_have() -> None:
    # Given 10 examples with a loss of 1 and 30 with 3, and a metric that one client alone tells
    responses = [evaluated(10, loss=1.0, accuracy=1.0, own=7.0), evaluated(30, loss=3.0, accuracy=0.5)]
    # Then the means are (10 + 90) / 40 and (10 + 15) / 40
    assert mean_metrics(responses) == pytest.approx({"loss": 2.5, "accuracy": 0.625})


def test_without_examples_there_is_no_mean() -> None:
    assert mean_metrics([]) == {}
    assert mean_metrics([evaluated(0, loss=1.0)]) == {}


def test_a_loss_beyond_all_measure_is_a_number_that_a_record_can_hold_or_left_out() -> None:
    # Given clients with losses near the largest float
    means = mean_metrics([evaluated(10**12, loss=1.7e308), evaluated(10**12, loss=1.7e308), evaluated(1, loss=1.0)])
    # Then what there is is finite
    assert all(math.isfinite(value) for value in means.values())


def test_clients_evaluate_the_model_of_a_round_and_who_doesnt_is_named(tmp_path: Path) -> None:
    # Given two clients that evaluate, with 10 and 30 examples, and one that fails
    clients = Clients(("anna", "bert", "carl"))
    said: dict[str, dict[str, Any]] = {
        "anna": {"status": Status.EVALUATED, "num_examples": 10, "metrics": {"loss": 1.0}},
        "bert": {"status": Status.EVALUATED, "num_examples": 30, "metrics": {"loss": 3.0}},
        "carl": {"status": Status.FAILED, "reason": "no data"},
    }

    def evaluate(order: dict[str, Any]) -> Response:
        common = {"order_id": order["order_id"], "client_id": order["client_id"]}
        return Response.model_validate({**common, **said[order["client_id"]]})

    clients.answer("evaluate", evaluate)
    # When they are asked for the model of round 2
    found = evaluate_at_clients(clients.context(tmp_path, rounds=2), 2, dict.fromkeys(said, "first"))
    # Then the mean is (10 * 1 + 30 * 3) / 40, and the third is named with its reason
    assert found == ClientEvaluations({"loss": 2.5}, 2, {"carl": "no data"})
    assert {order["parameters"]["name"] for order in clients.orders} == {"fl:blob:run/2"}
    # And the model is not left in the store
    assert clients.chunks.chunks == {}
