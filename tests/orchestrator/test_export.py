from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from click.testing import CliRunner
from torch import nn

from orchestrator.export import main
from orchestrator.store.facts import METRICS
from orchestrator.store.records import Evaluated
from orchestrator.store.run_folder import RunFolder
from tasks.arrays import BFLOAT16, write_file
from tasks.metrics import Metric
from tests.support import round_record, run_config


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of a linear layer of two rounds, which is stood beside; the weights are the round's number."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder.create(tmp_path / "run", run_config(keep_best=1))
    for number in range(3):
        model = {"weight": np.full((2, 3), number, np.float32), "bias": np.full(2, -number, np.float32)}
        digest = write_file(folder.checkpoint(number), {**model, "steps": np.array(number)})
        if number:
            folder.close_round(round_record(number, digest=digest))
    return folder


def said(*arguments: str, code: int = 0) -> str:
    """What the command says; it ends with ``code``."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.usefixtures("folder")
def test_the_newest_model_is_written_for_numpy() -> None:
    # Given a run, when its model is exported, then it is the last round's, as any reader of safetensors sees it
    assert said("run", "out.safetensors") == "the model after round 2 is in out.safetensors\n"
    model = safetensors.numpy.load_file("out.safetensors")
    assert model["weight"].tolist() == [[2.0] * 3] * 2
    assert (model["bias"].tolist(), model["steps"].item()) == ([-2.0, -2.0], 2)


@pytest.mark.usefixtures("folder")
def test_a_rounds_model_is_written_for_torch() -> None:
    # Given a run, when the model of its first round is exported for PyTorch
    assert said("run", "out.pt", "--round", "1") == "the model after round 1 is in out.pt\n"
    # Then it is a dict of tensors that is read without unpickling anything else, and that a module takes
    model = torch.load("out.pt", weights_only=True)
    assert model.pop("steps").item() == 1
    layer = nn.Linear(3, 2)
    layer.load_state_dict(model)
    assert layer(torch.ones(3)).tolist() == [2.0, 2.0]  # three weights of 1, and -1


def test_a_model_in_bfloat16_is_written_for_torch_in_bfloat16(folder: RunFolder) -> None:
    # Given a run whose initial model is of bfloat16, when it is exported, then so are the tensors
    write_file(folder.checkpoint(0), {"weight": np.array([0.5, -3.0], BFLOAT16)})
    said("run", "out.pt", "--round", "0")
    [weight] = torch.load("out.pt", weights_only=True).values()
    assert (weight.dtype, weight.tolist()) == (torch.bfloat16, [0.5, -3.0])


@pytest.mark.usefixtures("folder")
def test_the_initial_model_is_that_after_round_0() -> None:
    # Given a run, when the model after round 0 is exported, then it is the initial one
    said("run", "out.safetensors", "--round", "0")
    assert safetensors.numpy.load_file("out.safetensors")["weight"].tolist() == [[0.0] * 3] * 2


def test_the_best_model_is_that_of_the_metric_that_the_run_goes_by(folder: RunFolder) -> None:
    # Given a run whose loss was least after its first round, of which nobody has said in which direction AUC is better
    folder.save_evaluation(1, Evaluated(metrics={"loss": 0.25, "auc": 0.5}))
    folder.save_evaluation(2, Evaluated(metrics={"loss": 0.5, "auc": 0.75}))
    # When its best model is exported, then it is that, and the other one once the workload declares AUC
    assert said("run", "out.safetensors", "--round", "best") == "the model after round 1 is in out.safetensors\n"
    METRICS.note(folder, {"auc": Metric("higher")})
    assert said("run", "out.safetensors", "--round", "best") == "the model after round 2 is in out.safetensors\n"


def test_a_model_that_isnt_there_any_more_or_isnt_known_is_told_as_that(folder: RunFolder) -> None:
    # Given a run of which one model was removed, and one that nobody has evaluated
    folder.checkpoint(1).unlink()
    RunFolder.create(Path("new"), run_config())
    # When these are exported, then the message says so
    assert "none of the models of the run" in said("new", "out.safetensors", "--round", "best", code=2)
    kept = "error: the model after round 1 isn't kept: the run has --keep-best 1\n"
    assert said("run", "out.safetensors", "--round", "1", code=2) == kept
    assert "'worst' is not a valid integer range" in said("run", "out.safetensors", "--round", "worst", code=2)


def test_torch_is_imported_for_its_own_files_alone(folder: RunFolder) -> None:
    # Given a process of its own, when it exports for NumPy, then torch isn't loaded
    program = f"""
import sys
from pathlib import Path
from orchestrator.export import export
export(Path({str(folder.path)!r}), Path("out.safetensors"))
assert "torch" not in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "out.onnx"), "out.onnx: the name's end says what is written, .safetensors or .pt are allowed"),
        (("nowhere", "out.pt"), "nowhere isn't the folder of a run: it has no config.json"),
        (("run", "out.pt", "--round", "3"), "round 3 of the run in run isn't over: 2 rounds are"),
        (("run", "nowhere/out.pt"), "nowhere/out.pt can't be written: "),
    ],
)
def test_what_cant_be_exported_is_told_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    # Given something that is wrong, when a model is to be exported, then one line says so, and nothing is written
    told = said(*arguments, code=2)
    assert told.startswith(f"error: {message}")
    assert told.count("\n") == 1
    assert not Path("out.pt").exists()


def test_a_model_that_isnt_the_one_that_was_written_is_not_exported(folder: RunFolder) -> None:
    # Given a checkpoint that somebody has changed, when it is to be exported, then it is refused
    write_file(folder.checkpoint(2), {"weight": np.zeros(1, np.float32)})
    assert "is damaged: it isn't the one that was written" in said("run", "out.pt", code=2)
    assert "is damaged" not in said("run", "out.pt", "--round", "1")


def test_a_run_without_a_model_has_none_to_export(folder: RunFolder, tmp_path: Path) -> None:
    # Given a run that has only begun, when its model is to be exported, then it says that there is none
    RunFolder.create(tmp_path / "begun", run_config())
    for arguments in (("begun", "out.pt"), ("begun", "out.pt", "--round", "0")):
        assert "the run in begun has no model yet" in said(*arguments, code=2)
