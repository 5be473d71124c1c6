from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from orchestrator.driver.summary import summarise
from orchestrator.start import say_verdict
from orchestrator.store.records import Summary
from orchestrator.store.run_folder import RunFolder
from tests.support import round_record, run_config


@pytest.mark.parametrize(
    ("final", "rounds_failed", "said"),
    [
        ({"loss": 0.5, "accuracy": 0.75}, 0, "completed: 2 rounds in 3.0 s, accuracy 0.7500"),
        ({"loss": 0.5}, 0, "completed: 2 rounds in 3.0 s, loss 0.5000"),
        ({}, 0, "completed: 2 rounds in 3.0 s, no held-out data to evaluate on"),
        ({"accuracy": 0.5}, 0, "completed: 2 rounds in 3.0 s, accuracy 0.5000"),
        (
            {"loss": 9.0, "auc": 0.5, "f1": 0.25, "rmse": 0.0001, "mae": 3.0},
            0,
            "completed: 2 rounds in 3.0 s, auc 0.5000, f1 0.2500, rmse 0.0001 and 1 more",
        ),
        ({}, 1, "completed: 2 rounds (1 of them failed) in 3.0 s, the last of them failed"),
    ],
)
def test_the_verdict_says_how_good_the_final_model_is_by_the_best_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], final: dict[str, float], rounds_failed: int, said: str
) -> None:
    # Given a run that is completed, with an accuracy, a loss alone, or neither
    config = run_config()
    folder = RunFolder.create(tmp_path / "run", config)
    for number in (1, 2):
        status = "failed" if number > 2 - rounds_failed else "closed"
        folder.close_round(round_record(number, status=status))
    summary = Summary(
        run_id="run",
        status="completed",
        rounds=2,
        rounds_failed=rounds_failed,
        final=final,
        seed=0,
        workload=config.workload,
        algorithm="fedavg",
        checkpoint="checkpoints/round-0002.safetensors",
        wall_time_s=3.0,
    )
    # When its verdict is said, then it is this
    say_verdict(config, summary, folder, exit_code=0)
    assert capsys.readouterr().out.splitlines()[0] == said


def test_the_verdict_says_of_how_many_clients_it_speaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a run whose model could not be evaluated at the orchestrator, nor at one of its two clients
    config = run_config()
    folder = RunFolder.create(tmp_path / "run", config)
    summary = Summary(
        run_id="run", status="completed", rounds=1, final={}, evaluation_problem="evaluate(): no luck",
        client_metrics={"accuracy": 0.5}, num_evaluated=1, num_not_evaluated=1, seed=0, workload=config.workload,
        algorithm="fedavg", checkpoint="checkpoints/round-0001.safetensors", wall_time_s=3.0,
    )  # fmt: skip
    # When its verdict is said, then so it is
    say_verdict(config, summary, folder, exit_code=0)
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first == "completed: 1 round in 3.0 s, not evaluated: evaluate(): no luck"
    assert second == "on the clients' own held-out data (1 of 2 clients): accuracy 0.5000"


def test_the_verdict_tells_the_last_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a run without a model, whose clients counted
    folder = RunFolder.create(tmp_path / "run", run_config())
    for number in (1, 2):
        results = {"deaths": 3 * number, "rate": 0.25, "days": [1, 2], "more": 1, "most": 2, "least": 0}
        folder.close_round(round_record(number, metrics={}, results=results))
    # When its verdict is said, then the last round's single numbers are told, three of them
    say_verdict(folder.config(), summarise(folder.config(), folder, "completed", "", 3.0), folder, exit_code=0)
    told = capsys.readouterr().out.splitlines()[1]
    assert told == "results of all clients: deaths 6, rate 0.2500, more 1 and 2 more"


def test_a_round_that_failed_earlier_is_no_reason_for_a_final_model_without_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a run without held-out data, of whose rounds the first failed
    folder = RunFolder.create(tmp_path / "run", run_config())
    for number, status in enumerate(("failed", "closed"), start=1):
        folder.close_round(round_record(number, status=status, metrics={}))
    # When its verdict is said, then it isn't the last round that is blamed
    say_verdict(folder.config(), summarise(folder.config(), folder, "completed", "", 3.0), folder, exit_code=0)
    told = "completed: 2 rounds (1 of them failed) in 3.0 s, no held-out data to evaluate on"
    assert capsys.readouterr().out.splitlines()[0] == told


def test_a_verdict_that_nobody_reads_is_none_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a completed run, and a standard output whose reader has ended, as that of ``| head -1`` does
    folder = RunFolder.create(tmp_path / "run", run_config())
    folder.close_round(round_record(1))
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        # When its verdict is said, then nothing is raised, nor when what is left is written at the end
        say_verdict(folder.config(), summarise(folder.config(), folder, "completed", "", 3.0), folder, exit_code=0)
        output.write("and more")
