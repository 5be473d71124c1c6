"""Metrics by name through a whole run: declared at the workload, averaged over clients, recorded."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

import tests.support
from orchestrator.store.facts import METRICS
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.evaluation import Evaluation
from tasks.metrics import Metric
from tasks.workload import TrainResult
from tests.eager.federation import Federation
from tests.support import Pull


class Measuring(Pull):
    """Reports its number of examples in each way; one client alone reports ``own``."""

    known_metrics: ClassVar = {
        "clients": Metric("higher", "clients"),
        "sum": Metric(average="sum"),
        "max": Metric(average="max"),
    }

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        result = super().train(parameters, data, context)
        own = {"own": 2.0} if context.client_id == "anna" else {}
        said = dict.fromkeys(("examples", *self.known_metrics), float(len(data)))
        return TrainResult(result.parameters, len(data), result.num_steps, result.num_epochs, {**said, **own})

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return Evaluation(None, len(data), {"clients": 0.5 if context.client_id == "anna" else 0.25})


@pytest.fixture
def measuring(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> Federation:
    """Three clients of a workload with metrics of its own, with 3, 5 and 11 examples."""
    monkeypatch.setattr(tests.support, "Measuring", Measuring, raising=False)
    federation.join_all(Measuring(), "tests.support:Measuring")
    return federation


def test_averages_over_clients_are_those_that_the_workload_declares(measuring: Federation) -> None:
    # Given a workload that declares how its metrics are averaged, when a run is carried out
    folder = measuring.run(workload="tests.support:Measuring", rounds=1)
    # Then a round has what clients say of their training: by 3, 5 and 11 examples (9 + 25 + 121) / 19
    [record] = folder.history()
    averages = {"clients": 19 / 3, "examples": 155 / 19, "max": 11.0, "own": 2.0, "sum": 19.0}
    assert record.train_metrics == pytest.approx(averages)
    assert record.train_partial == {"own": 1}
    # And of their evaluations, each client alike, and its own, of which none has a loss
    assert record.client_metrics == {"clients": pytest.approx(1 / 3)}
    assert record.metrics == {"clients": 0.25}
    # And what was declared is in the run's folder
    said = json.loads((folder.path / "metrics.json").read_text())
    assert said["sum"] == {"better": "none", "average": "sum", "least": None, "most": None}
    assert METRICS.of(folder) == Measuring.known_metrics
