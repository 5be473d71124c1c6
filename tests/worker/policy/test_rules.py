"""A site's policy, as its file has it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasks.errors import ConfigurationError
from tasks.plugins import digest_of
from tests.tasks.trust.test_enrolment import accepted
from worker.handlers import KINDS
from worker.policy.__main__ import main
from worker.policy.default import write_default
from worker.policy.rules import ORDERS, Protects, Tells, read_rules

ORCHESTRATOR = "AAAAAA-BBBBBB-CCCCCC-DDDDDD"
WHOLE = """
orders = ["train", "evaluate"]
algorithms = ["fedavg", "fedprox"]
compressions = ["none", "int8"]
workloads = ["digits"]
run_config = ["hidden"]
max_epochs = 5
max_timeout_s = 600
max_orders_per_day = 200
min_examples = 50

[tells]
labels = true
hardware = true
examples_rounded_to = 10
metrics = ["accuracy"]
results = ["ages"]

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
    assert rules.tells == Tells(
        labels=True, hardware=True, examples_rounded_to=10, metrics=("accuracy",), results=("ages",)
    )
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
        ("orders = ['my:ASK']", "is named with the digest of its file: my:ASK@sha256:"),
        ("orders = []\nworkloads = ['digit']", "workloads: 'digit': did you mean 'digits'?"),
        ("orders = []\norchestrators = ['mine']", "orchestrators.0: String should match pattern"),
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
    assert rules.refuses_code("algorithms", "pinned_rule:RULE") == ""
    assert rules.refuses_code("algorithms", "pinned_rule:OTHER") == "algorithms = [pinned_rule:RULE]"
    assert rules.refuses_code("compressions", "pinned_rule:RULE") == "compressions = [none]"
    # When it changes, then it isn't
    module.write_text("import os\n")
    assert "has the digest" in rules.refuses_code("algorithms", "pinned_rule:RULE")


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
        "orchestrators: the one that the client is enrolled with",
        "workloads: digits",
        "algorithms: fedavg, fedprox",
        "compressions: none, int8",
        "settings that a run may give: hidden",
        "passes over the data an order: at most 5",
        "seconds an order: at most 600",
        "orders a day: at most 200",
        "examples needed to train or evaluate: 50",
        "told of the data: the number of examples, rounded down to multiples of 10; examples a label",
        "told of the machine: processors, memory, accelerator",
        "metrics told: accuracy",
        "results told beside the model: ages",
        "texts of exceptions: not told",
        "updates: clipped to an L2 norm of 1, with noise of standard deviation 0.01",
    ]


def test_the_orders_that_a_policy_knows_are_those_that_there_are() -> None:
    assert set(ORDERS) == set(KINDS)


def test_a_workload_is_named_without_its_parameters(tmp_path: Path) -> None:
    rules = read_rules(written(tmp_path, 'orders = []\nworkloads = ["mnist"]'))
    assert rules.refuses_code("workloads", "mnist,net=cnn") == ""
    assert rules.refuses_code("workloads", "digits") == "workloads = [mnist]"
    assert read_rules(written(tmp_path, "orders = []")).refuses_code("workloads", "digits") == ""


def test_the_policy_to_begin_with_is_right_for_an_enrolled_client(tmp_path: Path) -> None:
    # Given the file that is written when a package is accepted, when it is read, then nothing has to be added
    path = write_default(tmp_path, ORCHESTRATOR, "digits")
    assert path == tmp_path / "policy.toml"
    rules = read_rules(path, is_enrolled=True)
    assert (rules.orchestrators, rules.workloads, rules.tells.labels) == ((ORCHESTRATOR,), ("digits",), False)
    # And it is never written over
    path.write_text("orders = []")
    assert write_default(tmp_path, ORCHESTRATOR, "digits") is None
    assert path.read_text() == "orders = []"


def test_the_policy_to_begin_with_pins_the_site_s_own_workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pinned_study.py").write_text("raise RuntimeError\n")
    path = write_default(tmp_path, ORCHESTRATOR, "pinned_study:Study,net=cnn")
    assert path is not None
    assert read_rules(path).workloads == (f"pinned_study:Study@{digest_of('pinned_study:Study')}",)
    path.unlink()
    with pytest.raises(ConfigurationError, match="CLIENT_WORKLOAD=nowhere:Study: there is no such file"):
        write_default(tmp_path, ORCHESTRATOR, "nowhere:Study")
    with pytest.raises(ConfigurationError, match=r"policy\.toml: No such file or directory"):
        write_default(tmp_path / "gone", ORCHESTRATOR, "digits")


def test_the_command_writes_a_policy_and_says_what_it_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an enrolled site without a policy
    own = accepted(tmp_path)
    monkeypatch.setenv("CLIENT_ENROLMENT", str(own.folder))
    monkeypatch.delenv("CLIENT_POLICY", raising=False)
    call = CliRunner().invoke
    assert "policy.toml: No such file or directory: python -m worker.policy init" in call(main, ["check"]).stderr
    # When its owner has one written, then the commands find it without being told where
    assert call(main, ["init"]).exit_code == 0
    assert call(main, ["check"]).output == f"{own.folder / 'policy.toml'}: right\n"
    assert (
        "orders: train, evaluate, set_parameters, disconnect; refused: survey, verify" in call(main, ["explain"]).output
    )
    assert "it is there already" in call(main, ["init"]).stderr


def test_a_policy_is_checked_where_there_is_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a user without a home folder, who can have no enrolment in it
    monkeypatch.delenv("CLIENT_ENROLMENT", raising=False)
    monkeypatch.setenv("CLIENT_STATE", "~nobody-of-this-name/state")
    path = written(tmp_path, WHOLE)
    # When a policy is named, then it is checked; else it is said why none is found
    assert CliRunner().invoke(main, ["check", str(path)]).output == f"{path}: right\n"
    monkeypatch.setenv("CLIENT_POLICY", "none")
    assert "there is no policy, and nothing is refused" in CliRunner().invoke(main, ["check"]).stderr
    monkeypatch.delenv("CLIENT_POLICY")
    told = CliRunner().invoke(main, ["check"])
    assert (told.exit_code, "there is no such user" in told.stderr) == (2, True)
