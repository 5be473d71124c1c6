"""The workload ``command``, with programs that have no package of ours."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from celeriac.check import Finding, Trial, try_workload
from tasks.arrays import write_file
from tasks.context import Context, TimeBudget
from tasks.errors import ConfigurationError
from tasks.messages import TrainOptions
from tasks.metrics import Metric
from tasks.user_code import UserCodeError
from tasks.workload import DataSource, Part, TrainResult, Workload, load_workload

PROGRAM = "sh client.sh"
MODEL = {"w": np.array([1.0, 2.0])}
AT_CLIENT = Context(client_id="anna", round_number=3)


@pytest.fixture(autouse=True)
def standing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder one stands in, where the program is, and may write."""
    program = Path(__file__).with_name("program.py")
    (tmp_path / "client.sh").write_text(f"exec {sys.executable} -S {program}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def workload(**programs: str) -> Workload:
    """The workload with these programs beside the one that trains and makes the initial model."""
    chosen = {"train": PROGRAM, "initial": PROGRAM, **programs}
    return load_workload(",".join(["command", *(f"{task}={command}" for task, command in chosen.items())]))


def train(how: str, monkeypatch: pytest.MonkeyPatch, context: Context = AT_CLIENT, **programs: str) -> TrainResult:
    monkeypatch.setenv("HOW", how)
    chosen = workload(**programs)
    return chosen.train(MODEL, chosen.client_data(DataSource()).train, context)


def test_a_program_trains_and_says_in_numbers_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a program that adds 1 in each of ten steps, when it trains
    result = train("", monkeypatch)
    # Then that is the update, and the other numbers are its metrics
    assert result.parameters["w"].tolist() == [11.0, 12.0]
    assert (result.num_examples, result.num_steps, result.num_epochs) == (1, 10, 1.0)
    assert result.metrics == {"train_loss": 0.1}


def test_programs_make_the_initial_model_count_and_evaluate() -> None:
    # Given a program for each, when they are called
    chosen = workload(count=PROGRAM, evaluate=PROGRAM, holdout=PROGRAM)
    data = chosen.client_data(DataSource())
    evaluation = chosen.evaluate(MODEL, data.test, AT_CLIENT)
    at_orchestrator = chosen.evaluate(MODEL, chosen.holdout_data(None), Context())
    # Then what they have written is what the workload returns
    assert chosen.initial_parameters(Context())["w"].tolist() == [0.0, 0.0]
    assert data.num_train == 40
    assert (evaluation.loss, evaluation.num_examples, evaluation.metrics) == (0.5, 7, {"auc": 0.5})
    assert at_orchestrator == evaluation


def test_without_a_program_that_evaluates_there_is_nothing_to_evaluate_on() -> None:
    # Given a workload with the two programs that it needs, when it evaluates, then that is of no examples
    chosen = workload()
    data = chosen.client_data(DataSource())
    assert data.num_train == 1
    assert chosen.holdout_data(None) is None
    for examples in (data.test, data.train):  # the latter for an algorithm that goes by the loss
        assert chosen.evaluate(MODEL, examples, AT_CLIENT).num_examples == 0


def test_a_program_finds_in_its_environment_what_it_is_to_know(standing: Path) -> None:
    # Given a client with a folder, a part and settings of the study
    program = standing / "train.sh"
    program.write_text("env | grep ^FL_ > told; cp $FL_PARAMETERS $FL_UPDATE\n")
    chosen = workload(train="sh train.sh")
    data = chosen.client_data(DataSource(standing, Part(1, 4)))
    options = TrainOptions(epochs=2, batch_size=16, learning_rate=0.25)
    context = Context(
        client_id="anna", round_number=3, num_rounds=9, seed=17, options=options, budget=TimeBudget(20, lambda: 0.0),
        run_config={"alpha": 0.5, "net": "cnn", "sizes": [1, 2], "nesterov": True},
    )  # fmt: skip
    # When its program is called
    chosen.train(MODEL, data.train, context)
    # Then each is a variable, and so is each setting
    told = dict(line.split("=", 1) for line in (standing / "told").read_text().splitlines())
    files = [told.pop(f"FL_{name}") for name in ("PARAMETERS", "UPDATE", "METRICS")]
    assert len({Path(file).parent for file in files}) == 1
    assert json.loads(told.pop("FL_RUN_CONFIG")) == context.run_config
    assert told == {
        "FL_TASK": "train", "FL_CLIENT_ID": "anna", "FL_ROUND": "3", "FL_NUM_ROUNDS": "9", "FL_SEED": "17",
        "FL_EPOCHS": "2", "FL_BATCH_SIZE": "16", "FL_LEARNING_RATE": "0.25", "FL_MAX_STEPS": "",
        "FL_TIME_LEFT_S": "18.000", "FL_DEVICE": "cpu", "FL_DATA": str(standing), "FL_PART": "2/4",
        "FL_RUN_CONFIG_alpha": "0.5", "FL_RUN_CONFIG_net": "cnn", "FL_RUN_CONFIG_sizes": "[1, 2]",
        "FL_RUN_CONFIG_nesterov": "true",
    }  # fmt: skip
    # And the page tells of each
    page = (Path(__file__).parents[3] / "docs" / "any-program.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(FL_[A-Z_]+)`", page))
    assert documented == {name for name in told if not name.startswith("FL_RUN_CONFIG_")} | {
        "FL_PARAMETERS", "FL_UPDATE", "FL_METRICS", "FL_RUN_CONFIG",
    }  # fmt: skip
    # And its files are gone
    assert not Path(files[0]).parent.exists()


def test_the_check_of_a_workload_tries_programs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given programs that do what they have to, when the check tries them, then it finds nothing, and says what it saw
    spec = f"command,train={PROGRAM},initial={PROGRAM},evaluate={PROGRAM},count={PROGRAM}"
    said = list(try_workload(Trial(spec)))
    assert [each for each in said if isinstance(each, Finding)] == []
    assert any("10 steps" in each.text and "the same bits again" in each.text for each in said)
    # And given one that fails, then it says so as a run would
    monkeypatch.setenv("HOW", "fails")
    found = [each.text for each in try_workload(Trial(spec)) if isinstance(each, Finding)]
    assert found == [f"train: {PROGRAM!r} ended with code 1: training Error: there is no column 'age'"]


@pytest.mark.parametrize("how", ["slow", "stubborn"])
def test_what_is_written_when_the_time_is_over_counts(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a program that writes after each of a million steps, which SIGTERM ends, or SIGKILL alone
    context = Context(client_id="anna", budget=TimeBudget(2.0))
    # When it has two seconds
    result = train(how, monkeypatch, context)
    # Then it has done some steps, which are cut short, and has ended
    assert 1 <= result.num_steps < 100
    assert result.parameters["w"].tolist()[0] >= 1.0 + result.num_steps
    assert context.budget.cut_short
    pids = [int(path.name.removeprefix("pid-")) for path in Path.cwd().glob("pid-*")]
    assert pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_without_any_time_no_program_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a time that is over, when a program is to train that would fail, then no step is done
    assert train("fails", monkeypatch, Context(client_id="anna", budget=TimeBudget(0.0))).num_steps == 0


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("fails", f"train: {PROGRAM!r} ended with code 1: training Error: there is no column 'age'"),
        ("killed", f"train: {PROGRAM!r} was ended by SIGSEGV: training"),
        ("nothing", f"train: {PROGRAM!r} ended well and wrote no FL_UPDATE"),
        ("no json", "train: FL_METRICS is no JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
        ("half", "train: FL_UPDATE: the header describes 16 bytes of arrays, 8 are there; write to another name, and"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_program_is_said(how: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a program that goes wrong, when it trains, then the message names it and what it did
    with pytest.raises(UserCodeError) as caught:
        train(how, monkeypatch)
    assert str(caught.value).startswith(reason)


def test_a_program_that_had_its_time_and_wrote_nothing_is_told_so(standing: Path) -> None:
    # Given a program that does nothing, when its time is over, then there is no update
    chosen = workload(train="sleep 1000")
    with pytest.raises(UserCodeError, match="train: 'sleep 1000' had its time, and wrote no FL_UPDATE"):
        chosen.train(MODEL, chosen.client_data(DataSource()).train, Context(budget=TimeBudget(0.3)))


def test_a_number_of_steps_is_a_whole_number(standing: Path) -> None:
    # Given a program that says that it has done NaN steps, when it trains, then that is refused
    (standing / "train.sh").write_text("cp $FL_PARAMETERS $FL_UPDATE; echo '{\"num_steps\": NaN}' > $FL_METRICS\n")
    chosen = workload(train="sh train.sh")
    with pytest.raises(UserCodeError, match="train: FL_METRICS has num_steps=nan: a whole number is needed"):
        chosen.train(MODEL, chosen.client_data(DataSource()).train, AT_CLIENT)


def test_more_examples_than_were_counted_are_refused(standing: Path) -> None:
    # Given a program that says that it has trained on 40 examples, which nobody has counted
    (standing / "train.sh").write_text("cp $FL_PARAMETERS $FL_UPDATE; echo '{\"num_examples\": 40}' > $FL_METRICS\n")
    chosen = workload(train="sh train.sh")
    # When it trains, then it is told how they are counted
    with pytest.raises(UserCodeError, match="has num_examples=40, and the client was announced with 1: count=PROGRAM"):
        chosen.train(MODEL, chosen.client_data(DataSource()).train, AT_CLIENT)


def test_what_a_program_has_started_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a program that starts another and ends, when it has trained, then that is gone
    result = train("leaves one", monkeypatch)
    stat = Path(f"/proc/{result.num_steps}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_the_initial_model_may_be_a_file(standing: Path) -> None:
    # Given a model in a file, when its name is the parameter, then it is the initial model
    write_file(standing / "model.safetensors", MODEL)
    found = workload(initial="model.safetensors").initial_parameters(Context())
    assert {name: values.tolist() for name, values in found.items()} == {"w": [1.0, 2.0]}
    # And one that isn't there is told
    with pytest.raises(ConfigurationError, match=r"initial=other.safetensors: there is no such file"):
        workload(initial="other.safetensors").initial_parameters(Context())


def test_a_metric_may_be_the_one_to_go_by() -> None:
    # Given a metric that is better where it is higher, when the workload is asked, then it says so
    assert workload(better="auc:higher").known_metrics == {"auc": Metric("higher")}
    assert workload().known_metrics == {}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("command", "train=PROGRAM and initial=PROGRAM (or a safetensors file) are needed"),
        ("command,train=sh a.sh", "train=PROGRAM and initial=PROGRAM (or a safetensors file) are needed"),
        ("command,train=sh 'a,initial=b", "train=sh 'a: No closing quotation"),
        ("command,train=a,initial=b,better=auc", "better=auc: write NAME:higher or NAME:lower, like auc:higher"),
    ],
)
def test_a_spec_that_can_t_be_is_refused(spec: str, message: str) -> None:
    # Given parameters that say too little, when the workload is made, then it says what is needed
    with pytest.raises(ConfigurationError) as caught:
        load_workload(spec)
    assert message in str(caught.value)


def test_a_program_that_isn_t_there_is_told_when_a_client_starts(standing: Path) -> None:
    # Given a program that this machine hasn't, when a client loads its data, then it says which
    with pytest.raises(
        ConfigurationError, match=r"train=Nothing a\.nothing: there is no program 'Nothing' on the PATH"
    ):
        workload(train="Nothing a.nothing").client_data(DataSource())


def test_no_shell_reads_a_command(standing: Path) -> None:
    # Given a command with what a shell would make something of, when it is run, then each word is an argument
    (standing / "train.sh").write_text('cp $FL_PARAMETERS $FL_UPDATE; printf "%s\\n" "$@" > words\n')
    chosen = workload(train="sh train.sh $HOME ; touch 'two words'")
    chosen.train(MODEL, chosen.client_data(DataSource()).train, AT_CLIENT)
    assert (standing / "words").read_text().splitlines() == ["$HOME", ";", "touch", "two words"]
