from __future__ import annotations

import logging
import random
import re
import signal
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from orchestrator.config import RunConfig
from orchestrator.driver.run import summarise
from orchestrator.options import GroupedOption
from orchestrator.start import main
from orchestrator.store.records import Summary
from orchestrator.store.run_folder import RunFolder
from tasks.arrays import write_file
from tasks.errors import RunFolderError
from tasks.option import GROUPS
from tests.support import round_record, run_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in; whatever the command makes is in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def _own_process() -> Iterator[None]:
    """Put back what the command changes in its process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    levels = {name: logging.getLogger(name).level for name in (None, "orchestrator")}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def refused(*arguments: str | Path, environment: dict[str, str | None] | None = None) -> str:
    """Run the command with flags that are wrong; return what it says."""
    before = sorted(Path.cwd().rglob("*"))
    environment = {"CELERY_BROKER_URL": None, **(environment or {})}
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert sorted(Path.cwd().rglob("*")) == before, "nothing is made of a run that can't be"
    return result.stderr


def one_line(text: str) -> str:
    """The message of our own errors: one line that starts with ``error: ``."""
    assert re.fullmatch(r"error: [^\n]+\n", text), text
    return text.removeprefix("error: ").rstrip()


SLIPS = {
    "--algorithm fedagv": "unknown algorithm 'fedagv': did you mean 'fedavg'? known are fedadagrad, fedadam, fedavg, "
    "fedavgm, feddyn, fednova, fedprox, fedyogi, mime, mimelite, qfedavg, scaffold, or your own as module:name",
    "--aggregator medain": "unknown aggregator 'medain': did you mean 'median'? known are bulyan, centered_clipping, "
    "fltrust, geometric_median, krum, mean, median, multi_krum, trimmed_mean, or your own as module:name",
    "--mix nmm": "unknown mixer 'nmm': did you mean 'nnm'? known are bucketing, nnm, or your own as module:name",
    "--mix nnm,bucketing:1": "mixer 'bucketing:1': after the colon stands how many updates are in a bucket, a whole "
    "number",
    "--mix nnm:3": "mixer 'nnm:3': nnm takes nothing after a colon",
    "--mix bucketing,nowhere:mix": "mixer 'nowhere:mix': there is no module 'nowhere' in this folder",
    "--compression tpok": "unknown compression 'tpok': did you mean 'topk'? known are bf16, int8, none, topk, or your "
    "own as module:name",
    "--compression topk:1.5": "compression 'topk:1.5': write topk:SHARE with SHARE from 0.0001 to 0.25, like topk:0.01",
    "--compression bf16:8": "compression 'bf16:8': bf16 has no parameter, write bf16",
    "--compression tpk:0.01": "unknown compression 'tpk:0.01': did you mean 'topk'? known are ",
    "--compression nowhere:short": "compression 'nowhere:short': there is no module 'nowhere' in this folder",
    "--select conected": "unknown selector 'conected': did you mean 'connected'? known are connected, oort, "
    "power-of-choice, random, where, or your own as module:name",
    "--select where:lables=3": "selector 'where:lables=3': unknown condition 'lables': did you mean 'labels'? allowed "
    "are ",
    "--select power-of-choice:all": "selector 'power-of-choice:all': after the colon stands how many candidates are "
    "drawn",
    "--verify krumm": "unknown scorer 'krumm': did you mean 'krum'? known are cosine, fltrust, holdout, krum, norm, "
    "peers, or your own as module:name",
    "--mix tests.support:PULL": "mixer 'tests.support:PULL' is str, not a function",
    "--select tests.support:PULL": "selector 'tests.support:PULL' is str, not a function",
    "--algorithm tests.support:PULL": "algorithm 'tests.support:PULL' is str, not an algorithms.Algorithm",
    "--select random:5": "selector 'random:5': random takes nothing after a colon",
    "--observe consol": "unknown observer 'consol': did you mean 'console'? known are console, events, log, plot, or "
    "your own as module:name",
    "--observe plot,nowhere:Mine:9": "observer 'nowhere:Mine': there is no module 'nowhere' in this folder",
    "--observe subprocess:Popen": "observer 'subprocess:Popen': 'subprocess' is of Python's standard library",
    "--observe tests.support:job_of": "observer 'tests.support:job_of' doesn't say that it returns an Observer",
    "--workload digit": "unknown workload 'digit': did you mean 'digits'? known are digits, mnist, or your own as "
    "module:name",
    "--blobs redis://127.0.0.1:1": "blobs 'redis://127.0.0.1:1': of all Redis servers only the broker may hold them: ",
    "--blobs s4://bucket": "blobs 's4://bucket': write a URL that begins with one of redis, ",
    "--blobs file:///nowhere/at/all": "blobs 'file:///nowhere/at/all': there is no such folder here",
    "--data nowhere": "--data nowhere: there is no such folder",
    **{
        f"--broker {url}": f"broker {url!r}: "
        for url in ("localhost:6379", "http://host", "redis://", "redis://host:port", "redis://[::1", "x")
    },
}
"""A slip, a parameter out of range or where there is none, no module or no folder -> how the message starts."""


@pytest.mark.parametrize(("options", "message"), SLIPS.items())
def test_a_slip_or_a_parameter_that_makes_no_sense_is_refused(options: str, message: str) -> None:
    # Given a slip, when the command is given it, then one line guesses, lists what there is, or says what is wrong
    assert one_line(refused(*options.split())).startswith(message)


def test_a_workload_whose_module_isnt_there_is_told_with_the_folder(cwd: Path) -> None:
    # Given a module that isn't there, when the command is given it, then it says where it looked
    assert one_line(refused("--workload", "nowhere:Model")) == (
        f"workload 'nowhere:Model': there is no module 'nowhere' in this folder ({cwd}) or on the Python path"
    )


def config_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> RunConfig:
    """The config with which the command would begin a run."""
    begun: list[RunConfig] = []

    def run_session(config: RunConfig, folder: RunFolder, broker: str | None) -> tuple[Summary, int]:
        begun.append(folder.config())
        return summarise(config, folder, "completed", "", 1.0), 0

    monkeypatch.setattr("orchestrator.start.run_session", run_session)
    result = CliRunner().invoke(main, arguments, env={"CELERY_BROKER_URL": None})
    assert result.exit_code == 0, result.output
    return begun[0]


@pytest.mark.parametrize(
    ("arguments", "workload"),
    [
        ([], "digits"),
        (["--net", "cnn"], "digits,net=cnn"),
        (["--split", "dirichlet:0.1", "--net", "cnn", "--workload", "mnist"], "mnist,net=cnn,split=dirichlet:0.1"),
        (["--workload", " mnist, split_seed=3 , net=2nn", "--split", "iid"], "mnist,net=2nn,split=iid,split-seed=3"),
    ],
)
def test_net_and_split_become_parameters_of_the_workload(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], workload: str
) -> None:
    # Given flags for the net and the split, when a run is begun, then its workload is written in the one way
    assert config_of(monkeypatch, *arguments).workload == workload


def test_a_net_that_the_workload_has_already_is_refused() -> None:
    # Given a workload with a net, when the flag names one too, then the message names both
    assert one_line(refused("--workload", "mnist,net=2nn", "--net", "cnn")) == (
        "--net cnn: the workload 'mnist,net=2nn' has net=2nn already: give one"
    )


@pytest.mark.parametrize("arguments", [["--workload", "mnist,cnn"], ["--split", "iid,net=cnn"], ["--net", ""]])
def test_a_parameter_of_another_form_is_refused(arguments: list[str]) -> None:
    # Given something else than a key and a value, when the command is given it, then it says how they are written
    assert "is no parameter: write NAME[,KEY=VALUE...] without blanks" in one_line(refused(*arguments))


def test_a_run_folder_that_holds_a_run_is_refused_with_how_to_go_on(cwd: Path) -> None:
    # Given a run
    RunFolder.create(cwd / "one", run_config())
    # When another is to be made in its folder, then the message says what to do
    assert one_line(refused("--run-dir", "one")) == (
        f"{cwd / 'one'} holds a run already: go on with it by --resume {cwd / 'one'}, or name another"
    )


def test_a_run_folder_with_something_else_is_refused(cwd: Path) -> None:
    # Given a folder of something else, and a file, when a run is to be made there, then the message says what to do
    (cwd / "letters").mkdir()
    (cwd / "letters" / "to_anna.txt").write_text("dear Anna")
    for name in ("letters", "letters/to_anna.txt"):
        assert one_line(refused("--run-dir", name)) == (
            f"{cwd / name} exists and isn't an empty folder: name another with --run-dir"
        )


def test_what_is_no_run_cant_be_resumed(cwd: Path) -> None:
    # Given no folder, and an empty one, when it is to be resumed, then the message says what is missing
    (cwd / "empty").mkdir()
    for name in ("nowhere", "empty"):
        assert one_line(refused("--resume", name)) == f"{cwd / name} isn't the folder of a run: it has no config.json"


def test_a_run_is_resumed_with_its_own_settings_alone(cwd: Path) -> None:
    # Given a run
    RunFolder.create(cwd / "one", run_config())
    # When it is to be resumed with other settings, then the message names the flags that are too much
    assert one_line(refused("--resume", "one", "--rounds", "20", "--clients", "3", "--no-evaluate-clients")) == (
        "--resume goes on with the run's own settings, but for --rounds, --observe and --log-format: "
        "leave out --clients, --evaluate-clients"
    )
    assert "leave out --run-dir" in one_line(refused("--resume", "one", "--run-dir", "two"))
    assert "leave out --split, --net" in one_line(refused("--resume", "one", "--split", "iid", "--net", "cnn"))


def test_a_run_may_be_resumed_with_other_observers_and_logs_which_it_keeps(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run with an observer that isn't there any more
    RunFolder.create(cwd / "one", run_config(observe=("nowhere:Mine",)))
    # When it is to be resumed, then that is refused
    assert one_line(refused("--resume", "one")).startswith("observer 'nowhere:Mine': there is no module 'nowhere'")
    # When it is given others, then it has these
    changed = config_of(monkeypatch, "--resume", "one", "--observe", "plot", "--log-format", "json")
    assert changed == run_config(observe=("plot",), log_format="json")


def test_a_run_whose_config_is_damaged_cant_be_resumed(cwd: Path) -> None:
    # Given a run with half a config, when it is to be resumed, then the message names the file
    folder = RunFolder.create(cwd / "one", run_config())
    (folder.path / "config.json").write_text('{"run_id": "one"')
    assert one_line(refused("--resume", "one")).startswith(f"{cwd / 'one' / 'config.json'} is damaged: ")


@pytest.mark.usefixtures("_own_process")
def test_a_run_whose_history_is_damaged_cant_be_resumed(cwd: Path) -> None:
    # Given a run with a line in its history that is none
    folder = RunFolder.create(cwd / "one", run_config())
    (folder.path / "history.jsonl").write_text("{}\n" + round_record(2).model_dump_json() + "\n")
    # When it is to be resumed
    result = CliRunner().invoke(main, ["--resume", "one"], env={"CELERY_BROKER_URL": None})
    # Then the message names the file, and there is no traceback
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2
    assert "history.jsonl is damaged" in result.stderr


@pytest.mark.usefixtures("_own_process")
def test_a_run_none_of_whose_rounds_was_closed_has_failed_also_when_it_is_taken_up_again(cwd: Path) -> None:
    # Given a run whose only round failed, by which all of its rounds are over
    folder = RunFolder.create(cwd / "one", run_config(rounds=1))
    digest = write_file(folder.checkpoint(1), {"w": np.zeros(2, np.float32)})
    folder.close_round(round_record(1, status="failed", reason="nobody trained", metrics={}, digest=digest))
    # When it is taken up again
    result = CliRunner().invoke(main, ["--resume", "one"], env={"CELERY_BROKER_URL": None})
    # Then it has failed, for the reason of its last round, and says what would help
    assert result.exit_code == 1
    assert "error: none of the run's rounds could be closed, the last because nobody trained\n" in result.stderr
    assert result.stderr.endswith("go on with: python -m orchestrator.start --resume one --rounds 2\n")
    ended = folder.summary()
    assert ended is not None
    assert (ended.status, ended.rounds, ended.rounds_failed) == ("failed", 1, 1)
    # And its plot is drawn all the same
    assert (folder.path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_broker_that_doesnt_answer_is_refused_with_advice() -> None:
    # Given a port where nobody listens, named by the flag or by the variable
    url = "redis://:secret@127.0.0.1:1"
    by_flag, by_variable = refused("--broker", url), refused(environment={"CELERY_BROKER_URL": url})
    # When the command is given it, then the message says where, without the password, and what to do
    assert by_flag == by_variable
    assert re.fullmatch(
        r"no Redis answers at redis://:\*\*@127.0.0.1:1/? \(.*\): start one there, or name another with --broker URL"
        r" or CELERY_BROKER_URL",
        one_line(by_flag),
    )


def test_a_run_isnt_resumed_on_a_broker_that_doesnt_answer(cwd: Path) -> None:
    # Given a run, when it is to be resumed on such a broker, then the broker is what is wrong
    RunFolder.create(cwd / "one", run_config(local=False))
    message = one_line(refused("--resume", "one", "--broker", "redis://127.0.0.1:1"))
    assert message.startswith("no Redis answers at redis://127.0.0.1:1")


def test_a_run_goes_on_where_it_was_begun(cwd: Path) -> None:
    # Given a run that was begun on a broker, and one with clients of its own
    RunFolder.create(cwd / "broker", run_config(local=False))
    RunFolder.create(cwd / "local", run_config(local=True))
    # When they are to be resumed the other way, then they are refused
    told = "the run in {} was begun with {}"
    assert one_line(refused("--resume", "broker")).startswith(told.format("broker", "a broker: name it with --broker"))
    message = one_line(refused("--resume", "local", "--broker", "redis://127.0.0.1:1"))
    assert message.startswith(told.format("local", "none: leave --broker out"))


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--clients", "0"], "0 is not in the range x>=1"),
        (["--fraction", "nan"], "--fraction"),
        (["--learning-rate", "nan"], "--learning-rate"),
        (["--learning-rate", "inf"], "--learning-rate"),
        (["--timeout", "nan"], "--timeout"),
        (["--wait-timeout", "nan"], "--wait-timeout"),
        (["--epochs", "100001"], "--epochs"),
        (["--clients", "two"], "'two' is not a valid integer range"),
        (["--rounds", "0"], "0 is not in the range x>=1"),
        (["--rounds", "-3"], "-3 is not in the range x>=1"),
        (["--fraction", "0"], "0.0 is not in the range 0<x<=1"),
        (["--fraction", "1.5"], "1.5 is not in the range 0<x<=1"),
        (["--min-updates", "0"], "0 is not in the range x>=1"),
        (["--epochs", "0"], "0 is not in the range x>=1"),
        (["--batch-size", "0"], "0 is not in the range x>=1"),
        (["--learning-rate", "0"], "0.0 is not in the range x>0"),
        (["--wait-timeout", "0"], "0.0 is not in the range x>0"),
        (["--timeout", "-1"], "-1.0 is not in the range x>0"),
        (["--trim", "0.5", "--aggregator", "trimmed_mean"], "'--trim': 0.5 is not in the range 0<=x<0.5."),
        (["--trim", "-0.1", "--aggregator", "trimmed_mean"], "'--trim': -0.1 is not in the range 0<=x<0.5."),
        (["--seed", "1.5"], "'1.5' is not a valid integer"),
        (["--seed"], "requires an argument"),
        (["--round", "3"], "--rounds"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(arguments: list[str], allowed: str) -> None:
    # Given a value that a flag, or a run, can't have, when the command is given it, then it says what is allowed
    message = one_line(refused(*arguments))
    assert allowed in message
    assert arguments[0] in message


def test_help_lists_every_flag_with_its_default() -> None:
    # Given the command, when help is asked for, then all flags are there
    result = CliRunner().invoke(main, ["--help"], env={"CELERY_BROKER_URL": None}, terminal_width=110)
    assert result.exit_code == 0
    flags = re.findall(r"--[a-z-]+", result.stdout)
    settings = {
        name for name in RunConfig.model_fields if name not in {"run_id", "local", "options", "max_failed_rounds"}
    }
    names = {parameter.name: parameter.opts[0] for parameter in main.params}
    assert all(names[setting] in flags for setting in settings)
    assert {"--broker", "--run-dir", "--resume", "--epochs", "--batch-size", "--learning-rate"} <= set(flags)
    assert "[default: 10;" in " ".join(result.stdout.split())
    # And they are listed by what one wants to set, each in one group
    headings = [line.removesuffix(":") for line in result.stdout.splitlines() if re.fullmatch(r"[A-Z].*:", line)]
    assert headings == [*GROUPS, "Help"]
    assert {option.group for option in main.params if isinstance(option, GroupedOption)} == set(GROUPS)


@pytest.mark.parametrize("is_installed", [True, False])
def test_the_version_is_the_installed_one_or_that_of_the_checkout(
    monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    # Given an installation, or a checkout alone
    if not is_installed:
        monkeypatch.setattr(metadata.Distribution, "discover", lambda **_: iter(()))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    # When the version is asked for, beside an option that would start a run, then it is all that is said
    result = CliRunner().invoke(main, ["--rounds", "1", "--version"])
    assert (result.exit_code, result.output) == (0, f"celeriac {version}\n")
    assert list(Path.cwd().iterdir()) == []


NOT_TOGETHER = {
    "--algorithm fednova --weighting steps": "fednova normalises by steps itself",
    "--algorithm fednova --aggregator median": "fednova scales the mean by what clients claim",
    "--algorithm qfedavg --aggregator krum": "qfedavg scales the mean by what clients claim",
    "--weighting steps --aggregator median": "--weighting steps normalises a mean: with --aggregator median only "
    "examples is allowed",
    "--algorithm fednova --mix nnm": "fednova scales the mean by what clients claim: --mix nnm isn't for",
    "--weighting steps --mix bucketing:3,nnm": "with --mix bucketing:3,nnm only examples is allowed",
    "--algorithm scaffold --weighting steps": "scaffold counts every update the same",
    "--algorithm fedprox --set nu=1": "--set nu: fedprox has no such setting; it has mu (0.01)",
    # krum's default threshold, and one that was given, would drop nobody
    "--verify krum": "scorer 'krum' with threshold 'best:n-f' drops as many updates as may be hostile: --num-byzantine "
    "is 0, at least 1 is allowed",
    "--verify norm --threshold best:n-f": "scorer 'norm' with threshold 'best:n-f' drops as many updates as may be "
    "hostile: --num-byzantine is 0, at least 1 is allowed",
}
"""Options that contradict each other -> a part of what they are told."""


@pytest.mark.parametrize(("options", "message"), NOT_TOGETHER.items())
def test_what_doesnt_go_together_is_refused(options: str, message: str) -> None:
    assert message in one_line(refused(*options.split()))


OF_NO_USE = {
    "--threshold mad:3": "--threshold means nothing without --verify: give both",
    "--trim 0.2": "--trim is for --aggregator trimmed_mean: mean cuts nothing off",
    "--trim 0.1 --aggregator median": "--trim is for --aggregator trimmed_mean: median cuts nothing off",
    "--num-byzantine 1 --verify norm": "--num-byzantine 1: nothing goes by it with --aggregator mean and --verify "
    "norm: name another aggregator, the scorer krum or --threshold best:n-f",
    "--min-updates 3": "--min-updates 3: the run starts with 2 clients (--clients), no more updates than that are "
    "allowed",
    "--clients 5 --cohort 2 --fraction 0.4": "--cohort and --fraction exclude each other: give one",
    "--cohort 3": "--cohort 3: the run starts with 2 clients (--clients), no more than that are allowed",
    "--clients 5 --cohort 2 --min-updates 3": "a round takes 2 of 5 clients (--cohort 2) and needs 3 updates "
    "(--min-updates)",
    "--clients 9 --cohort 4 --aggregator krum --num-byzantine 1": "--aggregator krum needs 5 updates (--num-byzantine "
    "1), and a round takes 4 of 9 clients (--clients, --cohort)",
    "--clients 9 --cohort 5 --aggregator krum --num-byzantine 1": None,
    # 2 * 2 + 3 = 7 for Krum, 4 + 3 for Bulyan with one, 2 + 1 for a median
    "--aggregator krum --num-byzantine 2 --clients 6": "--aggregator krum needs 7 updates (--num-byzantine 2), and a "
    "round takes 6 of 6 clients (--clients, --fraction)",
    "--aggregator multi_krum --num-byzantine 2 --clients 13 --fraction 0.5": None,
    "--aggregator multi_krum --num-byzantine 2 --clients 12 --fraction 0.5": "--aggregator multi_krum needs 7 updates "
    "(--num-byzantine 2), and a round takes 6 of 12 clients (--clients, --fraction)",
    "--aggregator bulyan --num-byzantine 1 --clients 6": "--aggregator bulyan needs 7 updates (--num-byzantine 1), and "
    "a round takes 6 of 6 clients (--clients, --fraction)",
    "--aggregator bulyan --num-byzantine 1 --clients 7": None,
    "--aggregator median --num-byzantine 1": "--aggregator median needs 3 updates (--num-byzantine 1), and a round "
    "takes 2 of 2 clients (--clients, --fraction)",
    "--aggregator krum": None,
    "--verify krum --threshold mad:3": "--verify krum needs 3 updates (--num-byzantine 0), and a round takes 2 of 2 "
    "clients (--clients, --fraction)",
    "--verify norm --threshold best:n-f --num-byzantine 2": "--threshold best:n-f of norm needs 3 updates "
    "(--num-byzantine 2), and a round takes 2 of 2 clients (--clients, --fraction)",
}
"""Options of which one is no use, or that ask for more updates than a round has (None: they do not)."""


@pytest.mark.parametrize(("options", "message"), OF_NO_USE.items())
def test_what_no_round_could_do_is_refused(monkeypatch: pytest.MonkeyPatch, options: str, message: str | None) -> None:
    # Given options by which no round could be closed, when the command is given them, then one line says so
    if message is None:
        assert config_of(monkeypatch, *options.split())
    else:
        assert one_line(refused(*options.split())) == message


def begun(path: Path, num_closed: int, **changes: object) -> RunFolder:
    """The folder of a run of which so many rounds are closed."""
    folder = RunFolder.create(path, run_config(**changes))
    for number in range(1, num_closed + 1):
        digest = write_file(folder.checkpoint(number), {"w": np.full(2, number, np.float32)})
        folder.close_round(round_record(number, digest=digest))
    return folder


def test_a_run_is_given_more_rounds_when_it_is_taken_up(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a run of two rounds that is completed
    folder = begun(cwd / "one", 2, rounds=2)
    # When it is taken up with five rounds, then that is what its folder says while it is at work, and all else stays
    assert config_of(monkeypatch, "--resume", "one", "--rounds", "5") == run_config(rounds=5)
    assert folder.config() == run_config(rounds=5)


def test_a_run_that_is_given_more_rounds_is_at_work_all_the_same(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a run that is taken up with more rounds, by which its config is another file
    begun(cwd / "one", 2, rounds=2)
    told: list[str] = []

    def meanwhile(config: RunConfig, folder: RunFolder, broker: str | None) -> tuple[Summary, int]:
        with pytest.raises(RunFolderError) as caught:
            folder.lock()
        told.append(str(caught.value))
        return summarise(config, folder, "completed", "", 1.0), 0

    # When another start looks at it meanwhile, then it is refused, and nothing but the config is left
    monkeypatch.setattr("orchestrator.start.run_session", meanwhile)
    CliRunner().invoke(main, ["--resume", "one", "--rounds", "5"], env={"CELERY_BROKER_URL": None})
    assert told == [f"another orchestrator is at work on the run in {cwd / 'one'}: let it end, or end it, first"]
    assert sorted(path.name for path in (cwd / "one").glob("config*")) == ["config.json"]


def test_a_run_cant_have_fewer_rounds_than_are_over(cwd: Path) -> None:
    # Given a run of which three rounds are closed, when it is to end after two, then the message says how many are
    folder = begun(cwd / "one", 3, rounds=5)
    assert one_line(refused("--resume", "one", "--rounds", "2")) == (
        "--rounds 2: 3 rounds of the run in one are over, at least 3 are allowed"
    )
    assert folder.config().rounds == 5


WRONG = {
    "--clients": ["0", "many", "-1", "1.5"],
    "--broker": [
        "localhost",
        *(f"redis://127.0.0.1:1{query}" for query in ("", "/0?socket_timeout=soon", "/0?colour=red")),
    ],
    "--workload": ["digit", "nowhere:Model", "digits,net", "digits,net=", "mnist,net=cnn,net=2nn"],
    "--net": ["", "two words", "a,b", "cn", "nowhere:net"],
    "--split": ["", "iid,net=cnn", "idd", "dirichlet:x"],
    "--data": ["nowhere"],
    "--algorithm": ["fedagv", "nowhere:RULE", "tests.support:Pull", ":", ""],
    "--set": ["mu", "mu=", "mu=much", "=1"],
    "--aggregator": ["medain", "nowhere:function", ""],
    "--trim": ["0.5", "-0.1", "nan", "some"],
    "--compression": ["bf17", "topk:2", "bf16:1", "nowhere:short"],
    "--rounds": ["0", "ten", "1e3"],
    "--fraction": ["0", "1.01", "half", "nan"],
    "--cohort": ["0", "half", "-1"],
    "--initial-model": ["nowhere.safetensors", "taken", "taken/letter.txt"],
    "--reconnect-after": ["-1", "inf", "soon", "1e9"],
    "--min-updates": ["0", "-5", "all"],
    "--select": ["randon", "where:", "where:min-cpus=none", "connected:3", "power-of-choice:0"],
    "--accept": ["never", ""],
    "--verify": ["norn", "nowhere:score"],
    "--threshold": ["best", "mad:-1", "global*x", "inf"],
    "--num-byzantine": ["-1", "one"],
    "--weighting": ["equal", ""],
    "--epochs": ["0", "100001", "few"],
    "--batch-size": ["0", "big"],
    "--learning-rate": ["0", "nan", "inf", "fast"],
    "--seed": ["1.5", "luck"],
    "--run-dir": ["taken", "taken/letter.txt"],
    "--resume": ["nowhere", "taken"],
    "--wait-timeout": ["0", "inf", "long"],
    "--timeout": ["0", "inf", "1e9"],
    "--in-flight-mb": ["0", "inf", "-1"],
}
"""Values that an option can't have, whatever the others are."""


@pytest.mark.parametrize("flag", WRONG)
def test_a_wrong_value_of_any_option_is_refused_in_one_line(cwd: Path, flag: str) -> None:
    # Given a folder that isn't a run's
    (cwd / "taken").mkdir()
    (cwd / "taken" / "letter.txt").touch()
    # When the command is given a value that makes no sense, then one line says so, and nothing is made
    for value in WRONG[flag]:
        beside = ["--verify", "norm"] if flag == "--threshold" else []
        one_line(refused(flag, value, *beside))


@pytest.mark.parametrize("seed", range(25))
def test_five_wrong_options_are_refused_in_one_line(cwd: Path, seed: int) -> None:
    # Given a folder that isn't a run's, and five options at random, with something wrong in each
    (cwd / "taken").mkdir()
    (cwd / "taken" / "letter.txt").touch()
    rng = random.Random(seed)
    flags = rng.sample(sorted(WRONG), 5)
    # When the command is given them, then one line says so, and nothing is made
    one_line(refused(*(text for flag in flags for text in (flag, rng.choice(WRONG[flag])))))
