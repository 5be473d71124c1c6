"""Options in a file: ``python -m orchestrator.start study.toml``."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.store.run_folder import RunFolder
from tests.orchestrator.start_command.invoking import config_of, one_line, refused

STUDY = """
clients = 4
rounds = 7
learning-rate = 0.25
verify = ["norm", "cosine"]
evaluate-clients = false
wait-timeout = 9

[run-config]
momentum = 0.9
hidden = [64, 32]

[schedule]
learning_rate = "cosine:0.25:0.01"
"""


def test_a_study_says_what_options_say(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a study in a file, when it is begun, then its options are those of the run
    (cwd / "study.toml").write_text(STUDY)
    config = config_of(monkeypatch, "study.toml")
    assert (config.num_clients, config.rounds, config.options.learning_rate) == (4, 7, 0.25)
    assert (config.verify, config.evaluate_clients, config.wait_timeout_s) == (("norm", "cosine"), False, 9.0)
    assert config.run_config == {"momentum": 0.9, "hidden": [64, 32]}
    assert config.schedule == {"learning_rate": "cosine:0.25:0.01"}


def test_what_is_given_on_the_command_line_comes_first(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a study in a file, when options are given too, then they count, setting by setting
    (cwd / "study.toml").write_text(STUDY)
    options = "--rounds 2 --verify norm --run-config momentum=0.5,depth=3 --schedule epochs=step:4:0.5:1"
    config = config_of(monkeypatch, "study.toml", *options.split())
    assert (config.num_clients, config.rounds, config.verify) == (4, 2, ("norm",))
    assert config.run_config == {"momentum": 0.5, "hidden": [64, 32], "depth": 3}
    assert config.schedule == {"learning_rate": "cosine:0.25:0.01", "epochs": "step:4:0.5:1"}


def test_a_study_says_in_short_what_the_workload_is(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a study that names a data set and a level, when it is begun, with a net beside it, then all are taken in
    (cwd / "study.toml").write_text('dataset = "mnist"\nniid = 3\n')
    assert config_of(monkeypatch, "study.toml", "--net", "cnn").workload == "mnist,net=cnn,split=niid:3"
    assert one_line(refused("study.toml", "--workload", "digits")) == (
        "--dataset mnist and --workload digits exclude each other: give one"
    )


def test_the_config_of_a_run_begins_another_like_it(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a run, when its config is given as the study, then the new one differs in its name alone
    first = config_of(monkeypatch, "--run-dir", "one", "--clients", "3", "--set", "mu=0.1", "--algorithm", "fedprox")
    second = config_of(monkeypatch, "one/config.json", "--run-dir", "two")
    assert second == first.model_copy(update={"run_id": second.run_id})
    assert RunFolder.open(cwd / "two").config() == second


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("round = 3", "study.toml: round: there is no such option; did you mean 'rounds'? known are "),
        ('rounds = "ten"', 'study.toml: rounds = "ten": a whole number from 1 is allowed'),
        ("rounds = 0", "study.toml: rounds = 0: a whole number from 1 is allowed"),
        ("learning_rate = -1", "study.toml: learning_rate = -1: a number over 0 is allowed"),
        ('accept = "never"', 'study.toml: accept = "never": one of live, next, closed is allowed'),
        ("run-dir = 3", "study.toml: run-dir = 3: a text is allowed"),
        ("algorithm = 3", "study.toml: algorithm = 3: a text is allowed"),
        ('verify = "norm"', 'study.toml: verify = "norm": a list of texts is allowed'),
        ("niid = 6", "study.toml: niid = 6: a whole number from 0 to 5 is allowed"),
        ("niid = true", "study.toml: niid = true: a whole number from 0 to 5 is allowed"),
        ("clients = true", "study.toml: clients = true: a whole number from 1 is allowed"),
        ("cross-site = 3", "study.toml: cross-site = 3: true or false is allowed"),
        ("run-config = { a = { b = 1 } }", 'study.toml: run-config = {"a": {"b": 1}}: '),
        ("rounds =", "study.toml: Invalid value (at end of document): a file of options in TOML"),
        ('trim = 0.1\naggregator = "krum"\nclients = 9', "--trim is for --aggregator trimmed_mean"),
    ],
)
def test_what_is_wrong_in_it_is_told_in_one_line(cwd: Path, text: str, told: str) -> None:
    (cwd / "study.toml").write_text(text)
    assert one_line(refused("study.toml")).startswith(told)


def test_a_file_that_isnt_there_or_holds_no_options_is_refused(cwd: Path) -> None:
    assert one_line(refused("study.toml")).startswith("study.toml: No such file or directory: a file of options")
    (cwd / "list.json").write_text("[1]")
    assert one_line(refused("list.json")) == "list.json: list is in it: options by their names are needed"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--schedule lerning_rate=cosine:1:2", "--schedule lerning_rate: there is no such option, and no such number"),
        ("--schedule net=cosine:1:2 --run-config net=cnn", "--schedule net: there is no such option, and no such"),
        ("--schedule learning_rate=cosine:1:0", "--schedule, in round 10: TrainOptions: learning_rate: Input should "),
        ("--schedule learning_rate=cosine:1", "schedule cosine:1: write cosine:FIRST:LAST"),
        ("--schedule learning_rate", "Invalid value for '--schedule': 'learning_rate': write NAME=VALUE"),
        ("--schedule epochs=builtins:max", "schedule 'builtins:max': 'builtins' is of Python's standard library"),
        ("--schedule epochs=tests.support:points", "--schedule epochs=tests.support:points, in round 1 of 10: "),
        ("--run-config momentum", "--run-config 'momentum': write NAME=VALUE"),
    ],
)
def test_schedules_and_settings_that_make_no_sense_are_refused(options: str, told: str) -> None:
    assert one_line(refused(*options.split())).startswith(told)
