"""Clients that score each other's updates, through a whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.federate.in_memory import Participant, simulate
from orchestrator.store.run_folder import RunFolder
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.errors import RunFailedError
from tasks.evaluation import Evaluation
from tasks.messages import Status
from tasks.workload import Part
from tests.support import Pull, run_config

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


class WithoutAny(Pull):
    """Gives neither a loss nor an accuracy."""

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return Evaluation(None, len(data), {"size": 3.0})


def test_without_a_metric_to_go_by_nothing_is_scored_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a workload that gives none, when clients are to score each other's updates
    with pytest.raises(RunFailedError, match="none of the run's rounds could be closed"):
        run(tmp_path, WithoutAny)
    # Then no update is taken
    [record] = RunFolder.open(tmp_path / "run").history()
    assert record.status == "failed"
    assert {response.reason for response in record.responses.values()} == {"peers: nobody scored it"}
    # And the log has the reason
    why = "gave no score: failed: a score needs the metric loss, and evaluate() gives none"
    [message] = [message for message in caplog.messages if "gave no score" in message]
    assert message == f"round 1: 3 clients (anna, bert, carl) {why}"
