"""A run in a folder of MLflow's, as MLflow's own client reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.observers import load_observer
from orchestrator.observers.events import RunEnded
from tasks.errors import ConfigurationError
from tests.orchestrator.observers.telling import FIRST_START, NUMBERS, SECOND_START, SUMMARY, closed, tell

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow takes folders only where one says so."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def read(folder: Path, experiment: str = "celeriac") -> tuple[MlflowClient, list[Run]]:
    """MLflow's client, and the runs that are there."""
    from mlflow.tracking import MlflowClient  # not with this module: each process that collects the tests would take it

    client = MlflowClient(f"file://{folder}/mlruns")
    found = client.get_experiment_by_name(experiment)
    return client, list(client.search_runs([found.experiment_id])) if found else []


def test_a_run_of_two_starts_is_one_at_mlflow(tmp_path: Path) -> None:
    # Given a run that was killed and taken up again, and its files
    for name in ("config.json", "history.jsonl", "summary.json"):
        (tmp_path / name).write_text("{}")
    spec = f"mlflow:file://{tmp_path}/mlruns"
    tell(tmp_path, spec, *FIRST_START, rounds=7)
    client, [run] = read(tmp_path)
    assert run.info.status == "RUNNING"
    tell(tmp_path, spec, *SECOND_START, rounds=7)
    # When MLflow reads it, then each number is there once, by its round
    client, [run] = read(tmp_path)
    told = {
        name: [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)] for name in NUMBERS
    }
    assert told == NUMBERS
    # And its settings, its files, and how it ended
    assert run.data.params == {"workload": "tests.support:Pull", "algorithm": "fedavg", "rounds": "7"}
    assert run.data.tags["celeriac.run_id"] == run.info.run_name == "run"
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {
        "config.json", "history.jsonl", "summary.json",
    }  # fmt: skip
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize(("status", "told"), [("interrupted", "KILLED"), ("failed", "FAILED")])
def test_a_run_that_didnt_complete_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, told: str
) -> None:
    # Given another experiment, and a run that doesn't complete, when it ends, then MLflow knows
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "trial")
    ended = RunEnded(summary=SUMMARY.model_copy(update={"status": status}))
    tell(tmp_path, f"mlflow:file://{tmp_path}/mlruns", ended)
    assert [run.info.status for run in read(tmp_path, "trial")[1]] == [told]


@pytest.mark.parametrize("name", ["auc (macro)", "a//b", "a/../b", "a/./b", "a/.", "f1@0.5", "ends/", "é"])
def test_a_name_that_mlflow_refuses_is_told_by_another(tmp_path: Path, name: str) -> None:
    # Given a metric whose name is allowed here, when it is told, then MLflow takes it, and what is told with it
    tell(tmp_path, f"mlflow:file://{tmp_path}/mlruns", closed(1, train_metrics={name: 1.0}))
    _, [run] = read(tmp_path)
    assert len(run.data.metrics) == 6
    assert run.data.metrics["round/duration_s"] == 1.5


def test_a_place_that_mlflow_doesnt_know_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigurationError, match=r"observer 'mlflow:nowhere://x': .*folders"):
        load_observer("mlflow:nowhere://x")
