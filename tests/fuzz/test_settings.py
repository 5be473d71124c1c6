from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from celeriac.compressors import load_compressor
from celeriac.mixers import load_mixer
from celeriac.schedules import load_schedule
from celeriac.selectors import load_selector
from celeriac.workloads.parameters import read_seed, read_share
from celeriac.workloads.program_files import Files
from celeriac.workloads.splits import load_split
from celeriac.workloads.tables.tabular import Tabular
from orchestrator.config import RunConfig
from orchestrator.driver.summary import summarise
from orchestrator.goal import parse_goal
from orchestrator.runs import main as runs
from orchestrator.store.facts import BUFFERS, METRICS, PREPARED, RESULTS
from orchestrator.store.records import Evaluated, OpenRound
from orchestrator.store.run_folder import RunFolder
from orchestrator.study_file import read_study
from tasks.blobs.stores import check_named
from tasks.broker.url import Broker, masked
from tasks.errors import ConfigurationError
from tasks.metrics import Metric
from tasks.results import Result
from tasks.run_config import parse_run_config
from tasks.spec import WorkloadSpec
from tasks.workload import DataSource, Part
from tests.fuzz.bounds import SOME, read
from tests.fuzz.mutations import as_json, deep, mutated, mutated_json
from tests.orchestrator.start_command.invoking import refused
from tests.support import blob_ref, round_record, run_config
from verification.thresholds import load_threshold
from worker.policy.rules import read_rules
from worker.settings import ClientSettings

_STUDY = b"""
clients = 4
rounds = 20
workload = "digits"
learning-rate = 0.05
algorithm = "fedprox"
verify = ["norm", "krum"]
set = {mu = 0.01}
run-config = {momentum = 0.9, hidden = [64, 32]}
[schedule]
learning-rate = "cosine:0.1:0.01"
[options]
epochs = 2
"""
_URLS = (
    "redis://ann:s%2Fecret@example.org:6380/3",
    "rediss://:secret@[::1]:6380/0?ssl_cert_reqs=none&ssl_check_hostname=false&ssl_ca_certs=ca.pem",
    "redis+socket:///run/redis.sock?db=3",
    "sentinel://:secret@a:26379,b:26379/1?primary=mymaster",
)


def texts(*valid: str) -> st.SearchStrategy[str]:
    """Texts that were changed, as a command line hands them on: what isn't UTF-8 is in them as halves of characters."""
    return mutated(st.sampled_from([text.encode() for text in valid])).map(
        lambda content: content.decode("utf-8", "surrogateescape")
    )


_FORMS: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
    "a workload": (WorkloadSpec.parse, ("mnist,net=cnn,split=dirichlet:0.1", "my.module:Mine,a=1")),
    "a compression": (load_compressor, ("topk:0.01", "int8", "none")),
    "a selector": (load_selector, ("where:labels=3+7,min-examples=100,min-cpus=4,min-memory-gb=8.5", "random")),
    "a threshold": (load_threshold, ("0.9", "global-0.02", "median*0.9", "mad2:3", "best:70%", "best:n-f")),
    "a schedule": (load_schedule, ("cosine:0.1:0.01", "step:0.1:0.5:10")),
    "a split": (load_split, ("dirichlet:0.1", "shards:2", "quantity:0.5", "niid:3", "iid")),
    "a share": (read_share, ("0.1",)),
    "a seed": (lambda text: read_seed(text, 0), ("123",)),
    "a goal": (parse_goal, ("auc>=0.98", "loss<=1e-2")),
    "a mixer": (load_mixer, ("bucketing:2", "nnm")),
    "candidates": (load_selector, ("power-of-choice:20",)),
    "a part": (Part.parse, ("1/10",)),
    "a place of blobs": (check_named, ("file:///nowhere/shared", "redis://example.org/0")),
}


@pytest.mark.parametrize("what", _FORMS)
def test_a_text_is_read_or_refused_whatever_it_says(what: str) -> None:
    reader, valid = _FORMS[what]

    @SOME
    @given(texts(*valid) | st.sampled_from(valid).map(lambda text: re.sub("[0-9]+", "9" * 5_000, text)))
    def check(text: str) -> None:
        read(lambda: reader(text), len(text))

    check()


@SOME
@given(texts('momentum=0.9,hidden=[64,32],nesterov=true,net="cnn"', "a=[[1]],b=0x1f", "a=" + "[" * 900))
@example("a=\udc80")  # a byte that isn't UTF-8
@example("a=0x" + "f" * 5_000)  # a number that Python writes and doesn't read
@example("a=" + "[" * 3_000)  # lists deeper than Python's reader goes
def test_settings_that_are_allowed_are_kept_whatever_they_are(text: str) -> None:
    def kept() -> RunConfig:
        try:
            config = run_config(run_config=parse_run_config(text))
        except ValidationError as error:
            raise ConfigurationError("this is told in a line") from error
        assert RunConfig.model_validate_json(config.model_dump_json()) == config
        return config

    # When a run is begun with them, then its folder can hold them, or they are refused
    read(kept, len(text))


@SOME
@given(texts(*_URLS) | st.tuples(st.sampled_from(_URLS), st.text(st.characters(), max_size=300)).map("".join))
@example("redis://a..b/0")  # no name that can be looked up
@example("redis://a%00b/0")
@example("redis://:\udc80@example.org/0")  # no password that can be sent
@example("redis+socket:///a%00b")
@example("rediss://example.org/0?ssl_ca_certs=" + "a" * 300)  # no name that a file could have
def test_a_brokers_url_is_read_or_refused_whatever_it_says(text: str) -> None:
    # When it is read, then it can be shown, and what a connection is made with is of the right kind
    broker = read(lambda: Broker.read(text), len(text))
    masked(text)
    if broker is not None:
        str(broker).encode()
        broker.host.encode("idna")
        assert "\0" not in broker.host + broker.socket
        "".join((broker.user or "", broker.password or "", broker.socket)).encode()


@pytest.mark.parametrize("name", ["study.toml", "config.json"])
def test_a_file_of_options_is_read_or_refused_whatever_is_in_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    config = run_config(verify=("norm",), settings={"mu": 0.01}, run_config={"hidden": [64, 32]})
    as_toml = st.integers(1, 3_000).map(lambda depth: f"verify = {deep(depth)}".encode()) | mutated(st.just(_STUDY))
    contents = as_toml if name.endswith("toml") else mutated_json(st.just(json.loads(config.model_dump_json())))

    @SOME
    @given(contents)
    @example(b"verify = " + b"[" * 3_000)  # deeper than Python's readers go
    @example(b'{"verify": ' + b"[" * 3_000)
    @example(b"clients = 0x" + b"f" * 5_000)  # a number that Python reads and doesn't write
    def check(content: bytes) -> None:
        path.write_bytes(content)
        read(lambda: read_study(path), 10 * len(content))

    check()


_FILES: dict[str, Callable[[RunFolder], object]] = {
    "config.json": RunFolder.config,
    "open-round.json": RunFolder.open_round,
    "history.jsonl": RunFolder.history,
    "evaluations.jsonl": RunFolder.history,
    "summary.json": RunFolder.summary,
    "initial.json": RunFolder.initial,
    "results.json": RESULTS.of,
    "metrics.json": METRICS.of,
    "buffers.json": BUFFERS.of,
    "prepared.json": PREPARED.of,
}


@pytest.mark.parametrize("name", _FILES)
def test_a_file_of_a_run_is_read_or_refused_whatever_is_in_it(name: str, tmp_path: Path) -> None:
    # Given the folder of a run that somebody else has made, or a disk has damaged
    folder = RunFolder.create(tmp_path / "run", run_config(schedule={"learning_rate": "cosine:0.1:0.01"}))
    folder.close_round(round_record(1))
    folder.save_evaluation(1, Evaluated(metrics={"loss": 0.5}))
    folder.save_open_round(
        OpenRound(round_number=2, cohort={"anna": "first"}, parameters=blob_ref(), started_at="2026-01-02T03:04:05Z")
    )
    folder.save_summary(summarise(folder.config(), folder, "completed", "", 1.0))
    folder.save_initial(Evaluated(metrics={"loss": 2.5}))
    RESULTS.note(folder, {"events": Result("sum", (3,))})
    METRICS.note(folder, {"auc": Metric("higher")})
    BUFFERS.note(folder, ["steps"])
    PREPARED.note(folder, {"means": [0.5, 1.5]})
    path = folder.path / name
    right = json.loads(path.read_text())
    huge = {**right, "bytes_down": 10**4_000} if isinstance(right, dict) else right

    @SOME
    @given(mutated_json(st.just(right)).map(lambda content: content + b"\n" if name.endswith("l") else content))
    @example(as_json(huge) + b"\n")  # no number of megabytes that could be shown
    def check(content: bytes) -> None:
        # When one of its files is another, then what it says is known, or refused
        path.write_bytes(content)
        read(lambda: _FILES[name](folder), len(content))
        # And the command that shows runs shows it, or says in a line what is wrong
        for arguments in (("list", folder.path.parent), ("show", folder.path), ("compare", folder.path, folder.path)):
            result = CliRunner().invoke(runs, [str(argument) for argument in arguments])
            assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
            assert all(line.isprintable() for line in result.output.splitlines())

    check()


@pytest.mark.parametrize("long", [Path("a" * 300), Path("b" * 300, "c")])
def test_a_path_with_a_name_that_no_file_can_have_is_one_of_nothing(
    long: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given names longer than file systems have, as somebody's slip may paste them
    readers: tuple[Callable[[], object], ...] = (
        lambda: RunFolder.open(long),
        lambda: check_named(long.absolute().as_uri()),
        lambda: Tabular("y").client_data(DataSource(long)),
        lambda: ClientSettings.from_environment({"CLIENT_DATA": str(long)}),
    )
    # When they are looked for, then they are refused
    monkeypatch.chdir(tmp_path)
    for reader in readers:
        assert read(reader, 1_000) is None
    assert "there is no such folder" in refused("--data", long)


_POLICY = b"""
orders = ["train", "evaluate"]
algorithms = ["fedavg"]
max_epochs = 5
"a.b" = 1
[tells]
metrics = ["accuracy"]
[protects]
clip = 1.0
noise = 0.001
"""


@SOME
@given(content=mutated(st.sampled_from((_POLICY, _POLICY.replace(b'"a.b" = 1', b"max_orders_per_day = 200")))))
@example(content=b"orders = " + b"[" * 3_000)
def test_a_sites_rules_are_read_or_refused_whatever_they_are(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "policy.toml"
    path.write_bytes(content)
    read(lambda: read_rules(path), 10 * len(content))


@SOME
@given(content=mutated_json(st.just({"loss": 0.5, "num_examples": 5, "num_steps": 1e5})))
def test_what_a_program_says_is_read_or_refused_whatever_it_is(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Given the numbers that a program has written, and no arrays
    files = Files(tmp_path_factory.getbasetemp())
    files.metrics.write_bytes(content)
    # When they are read, then each may be asked for
    results = read(lambda: files.read("train", was_stopped=False), len(content))
    if results is not None:
        for name in ("num_examples", "num_steps"):
            read(lambda name=name: results.count(name, 1), len(content))  # type: ignore[misc]
        assert all(isinstance(float(value), float) for value in results.metrics("num_examples").values())
