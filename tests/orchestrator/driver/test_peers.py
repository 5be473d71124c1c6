"""Who scores whose update, and who steps in for one that doesn't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.peers import ask_peers
from orchestrator.store.records import PeerScores
from tasks import arrays
from tasks.blobs import blob
from tasks.messages import Response, Status
from tests.orchestrator.driver.contexts import MODEL, Clients


def score(tmp_path: Path, client_ids: tuple[str, ...], failing: tuple[str, ...]) -> tuple[PeerScores, Clients]:
    """Have clients score each other's updates in round 1, some of which fail at it."""
    clients = Clients(client_ids)

    def verify(order: dict[str, Any]) -> Response:
        common = {"order_id": order["order_id"], "client_id": order["client_id"]}
        if order["client_id"] in failing:
            return Response.model_validate({**common, "status": Status.FAILED, "reason": "no data"})
        said = {"status": Status.SCORED, "num_examples": 1, "metrics": {"score": 0.5 * order["attempt"]}}
        return Response.model_validate({**common, **said})

    clients.answer("verify", verify)
    context = clients.context(tmp_path, rounds=1, num_clients=len(client_ids))
    handed_out = {
        client_id: blob.publish(clients.chunks, f"fl:blob:handed-out/run/{client_id}", arrays.encode(MODEL))
        for client_id in client_ids
    }
    return ask_peers(context, 1, handed_out), clients


def test_an_update_whose_verifier_fails_is_given_to_another_that_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given three clients that score each other's updates, one of which fails at it
    found, clients = score(tmp_path, ("anna", "bert", "carl"), failing=("bert",))
    # When all have answered, then another was asked for that update in its place, and neither its own client
    [again] = [order for order in clients.orders if order["attempt"] == 2]
    unscored = again["parameters"]["name"].rpartition("/")[2]
    assert found.scored_by[unscored] == again["client_id"]
    assert again["client_id"] not in ("bert", unscored)
    assert found.scores == {client_id: 1.0 if client_id == unscored else 0.5 for client_id in ("anna", "bert", "carl")}
    # And the log says who gave no score, and nothing that was handed out is left
    assert "round 1: client bert gave no score: failed: no data" in caplog.messages
    assert clients.chunks.chunks == {}


def test_where_nobody_scores_nobody_is_asked_again(tmp_path: Path) -> None:
    # Given two clients that fail at it, when they are to score each other's updates, then each is asked once
    found, clients = score(tmp_path, ("anna", "bert"), failing=("anna", "bert"))
    assert [(order["client_id"], order["attempt"]) for order in clients.orders] == [("anna", 1), ("bert", 1)]
    assert (found.scores, found.is_alone) == ({}, False)


def test_of_two_one_steps_in_for_nobody_as_the_update_would_be_its_own(tmp_path: Path) -> None:
    # Given two clients, one of which fails, when they are to score each other's updates
    found, clients = score(tmp_path, ("anna", "bert"), failing=("bert",))
    # Then bert's has a score, and nobody else is there for anna's
    assert (found.scores, found.scored_by["bert"]) == ({"bert": 0.5}, "anna")
    assert len(clients.orders) == 2


def test_nobody_is_asked_about_a_single_update(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Given one update, when it is to be scored, then there is nobody to ask, which is told
    found, clients = score(tmp_path, ("anna",), failing=())
    assert (found.is_alone, found.scores, clients.orders, clients.chunks.chunks) == (True, {}, [], {})
    assert caplog.messages == ["round 1: no peer can score the update of client anna: none is asked"]
