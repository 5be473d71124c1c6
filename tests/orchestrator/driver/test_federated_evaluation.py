from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.federated_evaluation import evaluated_by_clients
from tasks.messages import Response, Status
from tasks.metrics import Spread
from tests.orchestrator.driver.contexts import Clients
from tests.support import round_record


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
    record = evaluated_by_clients(clients.context(tmp_path, rounds=2), round_record(2), dict.fromkeys(said, "first"))
    # Then the mean is (10 * 1 + 30 * 3) / 40, the spread is that of the two, and the third is named with its reason
    assert record.client_metrics == {"loss": 2.5}
    assert record.client_spread == {"loss": Spread(deviation=1.0, worst=3.0)}
    assert record.client_evaluations == {"anna": {"loss": 1.0}, "bert": {"loss": 3.0}}
    assert (record.num_evaluated, record.not_evaluated) == (2, {"carl": "no data"})
    assert {order["parameters"]["name"] for order in clients.orders} == {"fl:blob:model/run/2"}
    # And the model is not left in the store
    assert clients.chunks.chunks == {}


@pytest.mark.parametrize(
    ("claimed", "average", "refused"),
    [
        ({"num_examples": 10**12, "metrics": {"accuracy": 0.0}}, 0.5, {}),
        ({"num_examples": 30, "metrics": {"accuracy": 42.0}}, 1.0, {"eve": "accuracy is 42: 0 to 1 is allowed"}),
        ({"num_examples": 30, "metrics": {}}, 1.0, {}),
    ],
    ids=["examples", "range", "left out"],
)
def test_a_client_moves_the_others_numbers_no_further_than_it_announced(
    tmp_path: Path, claimed: dict[str, Any], average: float, refused: dict[str, str]
) -> None:
    # Given two clients that announced 30 held-out examples each, one of which claims more, or what can't be
    clients = Clients(("anna", "eve"))
    said = {"anna": {"num_examples": 30, "metrics": {"accuracy": 1.0}}, "eve": claimed}

    def evaluate(order: dict[str, Any]) -> Response:
        common = {"order_id": order["order_id"], "client_id": order["client_id"], "status": Status.EVALUATED}
        return Response.model_validate({**common, **said[order["client_id"]]})

    clients.answer("evaluate", evaluate)
    # When they evaluate a model
    record = evaluated_by_clients(clients.context(tmp_path, rounds=2), round_record(2), dict.fromkeys(said, "first"))
    # Then the liar counts for 30 examples, or not at all and with the reason
    assert record.client_metrics == {"accuracy": average}
    assert record.not_evaluated == refused
