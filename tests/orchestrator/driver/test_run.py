"""What is said of a run by what its folder holds; how it goes is in tests/eager."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.driver.run import check_any_closed
from orchestrator.driver.summary import summarise
from orchestrator.store.run_folder import RunFolder
from tasks.errors import RunFailedError
from tests.support import round_record, run_config

FAILED = {"status": "failed", "reason": "0 updates", "metrics": {}}


def test_a_summary_is_that_of_the_rounds_and_of_the_last_one(tmp_path: Path) -> None:
    # Given three rounds, of which the second failed, and clients that evaluated the last one's model
    config = run_config(seed=7)
    folder = RunFolder.create(tmp_path / "run", config)
    evaluated = {"client_metrics": {"loss": 0.25}, "num_evaluated": 4, "not_evaluated": {"bert": "lost"}}
    for record in (round_record(1), round_record(2, **FAILED), round_record(3, metrics={"loss": 0.5}, **evaluated)):
        folder.close_round(record)
    # When the run is summarised
    summary = summarise(config, folder, "completed", "", 1.23456)
    # Then rounds are counted, and the metrics are the last one's, which has no accuracy
    assert (summary.rounds, summary.rounds_failed, summary.seed) == (3, 1, 7)
    assert summary.final == {"loss": 0.5}
    assert (summary.client_metrics, summary.num_evaluated, summary.num_not_evaluated) == ({"loss": 0.25}, 4, 1)
    assert summary.checkpoint == "checkpoints/round-0003.safetensors"
    assert summary.wall_time_s == 1.235


def test_a_run_without_rounds_is_summarised_by_its_initial_model(tmp_path: Path) -> None:
    # Given a run that was interrupted before its first round was closed
    config = run_config()
    summary = summarise(config, RunFolder.create(tmp_path / "run", config), "interrupted", "SIGINT", 0.0)
    # Then the summary has nothing that isn't known
    assert (summary.rounds, summary.final, summary.client_metrics) == (0, {}, {})
    assert summary.checkpoint == "checkpoints/round-0000.safetensors"


def test_a_run_has_failed_if_none_of_its_rounds_was_closed() -> None:
    # Given rounds that failed, when one was closed, or there were none, then the run has a model
    check_any_closed([], run_config())
    check_any_closed([round_record(1), round_record(2, **FAILED)], run_config())
    # And when none was, it is told why the last one wasn't
    with pytest.raises(RunFailedError, match=r"^none of the run's rounds could be closed, the last because 0 updates$"):
        check_any_closed([round_record(1, **FAILED), round_record(2, **FAILED)], run_config())
