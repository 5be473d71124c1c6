from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.orchestrator.start_command.invoking import config_of, one_line, refused

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
    "--observe consol": "unknown observer 'consol': did you mean 'console'? known are console, csv, energy, events, "
    "log, mlflow, otel, page, plot, prometheus, tensorboard, wandb, or your own as module:name",
    "--observe plot,nowhere:Mine:9": "observer 'nowhere:Mine': there is no module 'nowhere' in this folder",
    "--observe subprocess:Popen": "observer 'subprocess:Popen': 'subprocess' is of Python's standard library",
    "--observe tests.support:job_of": "observer 'tests.support:job_of' doesn't say that it returns an Observer",
    "--workload digit": "unknown workload 'digit': did you mean 'digits'? known are cifar10, cifar100, command, ",
    "--blobs redis://127.0.0.1:1": "blobs 'redis://127.0.0.1:1': of all Redis servers only the broker may hold them: ",
    "--blobs s4://bucket": "blobs 's4://bucket': write a URL that begins with one of redis, ",
    "--blobs file:///nowhere/at/all": "blobs 'file:///nowhere/at/all': there is no such folder here",
    "--data nowhere": "--data nowhere: there is no such folder",
    **{
        f"--broker {url}": f"broker {url!r}: "
        for url in ("localhost:6379", "http://host", "redis://", "redis://host:**", "redis://[::1", "x")
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


@pytest.mark.parametrize("arguments", [["--workload", "mnist,cnn"], ["--split", "iid,net=cnn"], ["--net", ""]])
def test_a_parameter_of_another_form_is_refused(arguments: list[str]) -> None:
    # Given something else than a key and a value, when the command is given it, then it says how they are written
    assert "is no parameter: write NAME[,KEY=VALUE...], no comma in a value" in one_line(refused(*arguments))


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
        (["extra", "extra"], "unexpected extra argument (extra)"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(arguments: list[str], allowed: str) -> None:
    # Given a value that a flag, or a run, can't have, when the command is given it, then it says what is allowed
    message = one_line(refused(*arguments))
    assert allowed in message
    assert arguments[0] in message


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


WRONG = {
    "--clients": ["0", "many", "-1", "1.5"],
    "--broker": [
        "localhost",
        *(f"redis://127.0.0.1:1{query}" for query in ("", "/0?socket_timeout=soon", "/0?colour=red")),
    ],
    "--workload": ["digit", "nowhere:Model", "digits,net", "digits,net=", "mnist,net=cnn,net=2nn"],
    "--dataset": ["", "digit", "command", "digits,net=mlp"],
    "--niid": ["-1", "6", "iid"],
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
