"""Evaluations of the rounds' models on the orchestrator's held-out data, which no round waits for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.integration.harness import Field, Program, evaluations, history, wait_until

ROUNDS = 5


def begun(field: Field, folder: Path) -> Program:
    """A run all of whose rounds are closed, while the first of their models is being evaluated."""
    held, loss_held = folder / "held", folder / "loss_held"
    held.touch()
    options = f"--rounds {ROUNDS} --no-evaluate-clients"
    program = field.run(folder / "run", options, HELD=str(held), LOSS_HELD=str(loss_held))
    wait_until((folder / "run" / "open-round.json").exists, "the first round is open")
    loss_held.touch()
    held.unlink()
    wait_until(lambda: len(history(folder / "run")) == ROUNDS, "all rounds are closed")
    wait_until(loss_held.with_suffix(".pid").exists, "a model is being evaluated")
    return program


def kill_evaluator(_field: Field, program: Program, folder: Path) -> Program:
    psutil.Process(int((folder / "loss_held.pid").read_text())).kill()
    return program


def kill_and_resume(field: Field, program: Program, folder: Path) -> Program:
    program.process.kill()
    program.wait()
    return field.resume(folder / "run", LOSS_HELD=str(folder / "loss_held"))


@pytest.mark.parametrize(
    "meanwhile",
    [lambda _field, program, _folder: program, kill_evaluator, kill_and_resume],
    ids=["undisturbed", "its process is killed", "the orchestrator is killed"],
)
def test_rounds_go_on_while_a_model_is_evaluated_and_its_metrics_follow(
    field: Field, tmp_path: Path, meanwhile: Callable[[Field, Program, Path], Program]
) -> None:
    # Given a run whose rounds are all closed, and whose models' evaluations stand still
    program = begun(field, tmp_path)
    assert evaluations(tmp_path / "run") == []
    assert program.output.count("3 models wait for it") == 1
    # When nothing happens, or something is killed, and then they go on
    program = meanwhile(field, program, tmp_path)
    (tmp_path / "loss_held").unlink()
    program.succeeds()
    # Then each model was evaluated, in order, and once
    found = evaluations(tmp_path / "run")
    assert [line["round_number"] for line in found] == list(range(1, ROUNDS + 1))
    assert all(line["metrics"]["loss"] > 0 and not line["problem"] for line in found)
    assert [f"round {number}: loss " in program.output for number in range(1, ROUNDS + 1)] == [True] * ROUNDS
