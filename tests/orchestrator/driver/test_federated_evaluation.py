from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.driver.federated_evaluation import ClientEvaluations, evaluate_at_clients
from tasks.messages import Response, Status
from tasks.metrics import Averages
from tests.orchestrator.driver.contexts import Clients


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
    assert found == ClientEvaluations(Averages({"loss": 2.5}, {}), 2, {"carl": "no data"})
    assert {order["parameters"]["name"] for order in clients.orders} == {"fl:blob:run/2"}
    # And the model is not left in the store
    assert clients.chunks.chunks == {}
