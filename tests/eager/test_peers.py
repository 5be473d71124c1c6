"""Clients that score each other's updates, through a whole run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.simulation import Participant, simulate
from orchestrator.store.run_folder import RunFolder
from tasks.errors import RunFailedError
from tasks.messages import Status
from tasks.workload import Part
from tests.support import Pull, WithoutAccuracy, run_config

CLIENTS = ("anna", "bert", "carl")


def run(path: Path, kind: type[Pull]) -> RunFolder:
    """Carry out a round of three clients that score each other's updates, and take all that have a score."""
    config = run_config(
        workload=f"{kind.__module__}:{kind.__name__}", num_clients=3, rounds=1, verify=("peers",), threshold=("0",)
    )
    participants = {client_id: Participant(Part(index, 3), kind()) for index, client_id in enumerate(CLIENTS)}
    return simulate(config, participants, path)


def test_clients_score_each_other_by_accuracy(tmp_path: Path) -> None:
    # Given a workload with an accuracy, when clients score each other's updates
    [record] = run(tmp_path, Pull).history()
    # Then each has a score from 0 to 1 of another client
    assert [response.status for response in record.responses.values()] == [Status.TRAINED] * 3
    assert all(0 <= response.scores["peers"] <= 1 for response in record.responses.values())
    assert all(response.scored_by["peers"] != client_id for client_id, response in record.responses.items())


def test_without_an_accuracy_nothing_is_scored_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a workload that gives none, when clients are to score each other's updates
    with pytest.raises(RunFailedError, match="none of the run's rounds could be closed"):
        run(tmp_path, WithoutAccuracy)
    # Then no update is taken
    [record] = RunFolder.open(tmp_path / "run").history()
    assert record.status == "failed"
    assert {response.reason for response in record.responses.values()} == {"peers: nobody scored it"}
    # And the log has the reason
    why = "gave no score: failed: a score needs an accuracy from 0 to 1, and the workload gives none"
    [message] = [message for message in caplog.messages if "gave no score" in message]
    assert message == f"round 1: 3 clients (anna, bert, carl) {why}"
