"""A site's policy, as its file has it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasks.errors import ConfigurationError
from tasks.plugins import digest_of
from worker.policy.__main__ import main
from worker.policy.rules import Protects, Tells, read_rules

WHOLE = """
orders = ["train", "evaluate"]
algorithms = ["fedavg", "fedprox"]
compressions = ["none", "int8"]
max_epochs = 5
max_timeout_s = 600
max_orders_per_day = 200
min_examples = 50

[tells]
labels = true
hardware = true
examples_rounded_to = 10
metrics = ["accuracy"]

[protects]
clip = 1
noise = 0.01
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text)
    return path


def test_a_policy_is_read(tmp_path: Path) -> None:
    rules = read_rules(written(tmp_path, WHOLE))
    assert (rules.orders, rules.algorithms, rules.compressions) == (
        ("train", "evaluate"), ("fedavg", "fedprox"), ("none", "int8")
    )  # fmt: skip
    assert (rules.max_epochs, rules.max_timeout_s, rules.max_orders_per_day, rules.min_examples) == (5, 600, 200, 50)
    assert rules.tells == Tells(labels=True, hardware=True, examples_rounded_to=10, metrics=("accuracy",))
    assert rules.protects == Protects(clip=1, noise=0.01)


def test_what_a_policy_leaves_out_is_refused_and_not_told(tmp_path: Path) -> None:
    rules = read_rules(written(tmp_path, 'orders = ["train"]'))
    assert (rules.algorithms, rules.compressions) == ((), ("none",))
    assert rules.tells == Tells(labels=False, hardware=False, examples_rounded_to=1, metrics=())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "orders: Field required"),
        ("orders = 'train'", "orders: Input should be a valid tuple"),
        ("orders = [", "Invalid value"),
        ("orders = []\nmax_epoch = 5", "max_epoch: there is no such key; did you mean 'max_epochs'?"),
        ("orders = []\n[tells]\nlabel = true", "tells.label: there is no such key; did you mean 'labels'?"),
        ("orders = []\n[tells]\nlabels = 'yes'", "tells.labels: Input should be a valid boolean"),
        ("orders = []\nmax_epochs = 0", "max_epochs: Input should be greater than 0"),
        ("orders = []\nmax_epochs = '5'", "max_epochs: Input should be a valid number"),
        ("orders = []\n[protects]\nclip = true\nnoise = 0", "protects.clip: Input should be a valid number"),
        ("orders = []\n'a.b' = 1", "a.b: there is no such key; known are algorithms"),
        ("orders = " + "[" * 20_000, "maximum recursion depth exceeded: a policy in TOML is needed"),
        ("orders = []\nmax_epochs = " + "9" * 5_000, "(4300 digits)"),
        ("orders = []\nmax_timeout_s = nan", "max_timeout_s: Input should be greater than 0"),
        ("orders = []\n[protects]\nclip = 1", "protects.noise: Field required"),
        ("orders = []\n[protects]\nclip = inf\nnoise = 0", "protects.clip: Input should be a finite number"),
        ("orders = []\nalgorithms = ['fedavgg']", "algorithms: 'fedavgg': did you mean 'fedavg'?"),
        ("orders = []\ncompressions = ['my:codec']", "is named with the digest of its file: my:codec@sha256:"),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_refused_with_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as refused:
        read_rules(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)


def test_a_policy_that_isn_t_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file or directory: a policy in TOML is needed"):
        read_rules(tmp_path / "policy.toml")


def test_code_of_one_s_own_is_allowed_as_long_as_its_file_is_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a module that raises if it is run, whose digest is pinned
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "pinned_rule.py"
    module.write_text("raise RuntimeError\n")
    digest = f"sha256:{hashlib.sha256(module.read_bytes()).hexdigest()}"
    assert digest_of("pinned_rule:RULE") == digest
    rules = read_rules(written(tmp_path, f"orders = []\nalgorithms = ['pinned_rule:RULE@{digest}']"))
    # Then it is allowed, and nothing else of it
    assert rules.allows_code("algorithms", "pinned_rule:RULE") == ""
    assert rules.allows_code("algorithms", "pinned_rule:OTHER") == "algorithms = [pinned_rule:RULE]"
    assert rules.allows_code("compressions", "pinned_rule:RULE") == "compressions = [none]"
    # When it changes, then it isn't
    module.write_text("import os\n")
    assert "has the digest" in rules.allows_code("algorithms", "pinned_rule:RULE")


def test_code_whose_package_cant_be_imported_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "broken_rules"
    package.mkdir()
    (package / "__init__.py").write_text("1 / 0\n")
    (package / "mine.py").touch()
    assert digest_of("broken_rules.mine:RULE") == "sha256:(there is no such file)"


def test_the_command_says_that_pinned_code_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "changed_rule.py").write_text("RULE = 1\n")
    policy = written(tmp_path, f"orders = []\nalgorithms = ['fedavg', 'changed_rule:RULE@sha256:{'0' * 64}']")
    told = CliRunner().invoke(main, ["check", str(policy)])
    assert told.exit_code == 2
    assert f"changed_rule:RULE has the digest {digest_of('changed_rule:RULE')}, pinned is sha256:0000" in told.output


def test_the_command_checks_a_policy(tmp_path: Path) -> None:
    good = CliRunner().invoke(main, ["check", str(written(tmp_path, WHOLE))])
    assert (good.exit_code, good.output) == (0, f"{tmp_path / 'policy.toml'}: right\n")
    bad = CliRunner().invoke(main, ["check", str(written(tmp_path, "orders = ['trian']"))])
    assert bad.exit_code == 2
    assert "orders: 'trian': did you mean 'train'?" in bad.output


def test_the_command_says_what_a_policy_means(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["explain", str(written(tmp_path, WHOLE))]).output.splitlines()
    assert told == [
        "orders: train, evaluate; refused: survey, verify, set_parameters, statistics, disconnect",
        "algorithms: fedavg, fedprox",
        "compressions: none, int8",
        "passes over the data an order: at most 5",
        "seconds an order: at most 600",
        "orders a day: at most 200",
        "training examples needed to take part: 50",
        "told of the data: the number of examples, rounded down to multiples of 10; examples a label",
        "told of the machine: processors, memory, accelerator",
        "metrics told: accuracy",
        "updates: clipped to an L2 norm of 1, with noise of standard deviation 0.01",
    ]
