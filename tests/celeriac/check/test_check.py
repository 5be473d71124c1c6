"""``python -m celeriac.check``: it finds what will fail, and nothing in what is sound."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import celeriac
from celeriac import Arrays, ClientData, Context, DataSource, Evaluation, TrainResult, Workload
from celeriac.check import Finding, Note, Trial, try_workload
from celeriac.check.__main__ import main
from tests.celeriac.check import faulty
from tests.celeriac.check.sound import Sound

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _ctrl_c_as_in_the_command() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before)


class KeepsOnItself(Sound):
    count = 0

    def batches(self, num: int, context: Context) -> Any:
        self.count += 1
        return super().batches(num, context)[self.count - 1 :]


class Counts(Workload):
    """Has no model, nothing to evaluate, and a result."""

    def client_data(self, source: DataSource) -> ClientData:
        return ClientData(np.arange(10) + source.part.index, None, 10)

    def results(self, context: Context) -> dict[str, celeriac.Result]:
        return {"sum": celeriac.Result("sum", dtype="int64")}

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        return TrainResult({}, len(data), results={"sum": data.sum()})


class CountsOnly(Counts):
    """Has a model, which training returns nothing of."""

    def initial_parameters(self, context: Context) -> Arrays:
        return {"sum": np.zeros(1)}

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return Evaluation(float(parameters["sum"][0]), 1)


class Undeclared(Counts):
    def results(self, context: Context) -> dict[str, celeriac.Result]:
        return {"sum": celeriac.Result("sum")}


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def findings(spec: str, timeout_s: float = 60.0) -> list[str]:
    trial = Trial(spec, timeout_s=timeout_s)
    return [said.text for said in try_workload(trial) if isinstance(said, Finding)]


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # the command puts the folder one stands in to its front
    monkeypatch.chdir(folder)


def spec_of(kind: type[Workload]) -> str:
    return f"{kind.__module__}:{kind.__name__}"


@pytest.mark.parametrize("kind", [Counts, CountsOnly])
def test_a_workload_whose_training_returns_results_alone_is_sound(kind: type[Workload]) -> None:
    assert findings(spec_of(kind)) == []


def test_that_there_is_no_model_is_noted() -> None:
    notes = [said for said in try_workload(Trial(spec_of(Counts))) if isinstance(said, Note)]
    assert notes[0] == Note("initial_parameters", "none: training returns results alone")


def test_results_that_arent_as_declared_are_found() -> None:
    assert findings(spec_of(Undeclared)) == [
        "train() returned results: result 'sum' is int64 (): float64 () is declared"
    ]


@pytest.mark.parametrize("kind", faulty.FAULTS, ids=lambda kind: kind.__name__)
def test_a_fault_is_found_and_told_by_its_method(kind: type[Sound]) -> None:
    # Given a workload with one fault, when it is tried, then what is told is that fault
    found = findings(spec_of(kind), timeout_s=2 if kind is faulty.Hangs else 60)
    assert any(faulty.FAULTS[kind] in text for text in found), found
    assert all("\n" not in text and len(text) < 400 for text in found)


@pytest.mark.parametrize("spec", [spec_of(Sound), "digits", "digits,net=cnn,split=dirichlet:0.5"])
def test_nothing_is_found_in_a_workload_that_is_sound(spec: str) -> None:
    # Given a workload that trains, when it is tried, then nothing is found
    assert findings(spec) == []


def test_a_table_is_tried_with_what_it_prepares_of_its_own_statistics(tmp_path: Path) -> None:
    # Given a table, when it is tried, then its schema is made of it, as a run makes it of the clients'
    rows = "".join(f"{age},{'fm'[age % 2]},{int(age > 45)}\n" for age in range(30, 60))
    (tmp_path / "t.csv").write_text(f"age,sex,ill\n{rows}")
    said = list(try_workload(Trial("table,target=ill", tmp_path)))
    assert [each.text for each in said if isinstance(each, Finding)] == []
    assert Note("prepare", "schema, of 3 columns") in said
    # And without a table that is what is found
    assert findings("table,target=ill") == [
        "a table is needed: name its folder, by --data, or at a client by CLIENT_DATA"
    ]


def test_what_a_workload_keeps_on_itself_is_noted() -> None:
    # Given a workload whose second training goes by what the first left on it, and not in its state
    notes = [said.text for said in try_workload(Trial(spec_of(KeepsOnItself))) if isinstance(said, Note)]
    # When it is tried, then a note says so, which is no finding
    assert "what it keeps on itself or in its data ends with its process; context.state lasts" in notes
    assert findings(spec_of(KeepsOnItself)) == []


def test_the_workload_of_the_readme_is_sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given the README's workload in a folder, when it is tried there, then nothing is found
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    (tmp_path / "study_of_the_readme.py").write_text("\n\n".join(code))
    stand_in(monkeypatch, tmp_path)
    assert findings("study_of_the_readme:MyStudy") == []


def test_the_example_without_torch_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the example's folder, when its workload is tried by the command, then it says what it saw, and is content
    stand_in(monkeypatch, ROOT / "examples" / "numpy")
    result = check("study:Study")
    assert result.exit_code == 0, result.output
    assert "300 and 300 training examples of 6 labels" in result.output
    assert result.output.splitlines()[-1].startswith("study:Study: nothing found that would fail, in ")


def test_what_was_found_is_a_line_each_and_the_exit_code_is_1() -> None:
    # Given a workload with a fault, when the command tries it
    result = check(spec_of(faulty.PerCent))
    # Then a line tells it, and the last how many there are
    assert result.exit_code == 1
    told = [line for line in result.output.splitlines() if line.startswith("WILL FAIL")]
    assert told == ["WILL FAIL           evaluate() returned accuracy 97: a share from 0 to 1 is allowed"]
    assert ": 1 finding, in " in result.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no_such"], "unknown workload 'no_such'"),
        (["no_such_module:X"], "there is no module 'no_such_module' in this folder"),
        (["digits", "--data", "/no/such/folder"], "does not exist"),
        (["digits", "--timeout", "0"], "0 is not in the range"),
        (["digits", "--run-config", "momentum"], "--run-config 'momentum': write NAME=VALUE"),
        ([], "Missing argument"),
    ],
)
def test_a_wrong_call_ends_with_2_and_says_why(arguments: list[str], words: str) -> None:
    # Given something wrong on the command line, when it is called, then it says what, and tries nothing
    result = check(*arguments)
    assert (result.exit_code, words in result.output) == (2, True), result.output
