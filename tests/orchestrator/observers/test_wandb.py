"""A run in a file of Weights & Biases', which their own messages read; their reader is in the program that sends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.observers.events import Event
from tests.integration.harness import wait_until
from tests.orchestrator.observers.telling import FIRST_START, NUMBERS, SECOND_START, tell

_HEAD = b":W&B\xe1\xbe\x00"
_BLOCK = 32 * 1024
_FRAME = 7
_WHOLE, _LAST = 1, 4


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """The process that writes for them ends with the test, also where that fails."""
    yield
    end()


def end() -> None:
    """End the process that writes for them, when it has written all."""
    import wandb  # not with this module: each process that collects the tests would take a second for it

    wandb.teardown()


def tell_whole(folder: Path, spec: str, *events: Event, **changes: Any) -> None:
    """Tell of a start of the orchestrator, which ends when the process that writes for them has written all."""
    tell(folder, spec, *events, **changes)
    end()


def records(path: Path) -> Iterator[Any]:
    """A file's records: frames of LevelDB's log format, in blocks, after a head of theirs."""
    from wandb.proto import wandb_internal_pb2

    record: Any = wandb_internal_pb2.Record  # type: ignore[attr-defined]  # made when it is imported
    content, at, data = path.read_bytes(), len(_HEAD), b""
    assert content.startswith(_HEAD)
    while at + _FRAME <= len(content):
        if (left := _BLOCK - at % _BLOCK) < _FRAME:
            at += left
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        data += content[at + _FRAME : at + _FRAME + size]
        at += _FRAME + size
        if kind in (_WHOLE, _LAST):
            yield record.FromString(data)
            data = b""


def test_the_command_line_stays_here_as_the_broker_s_password_may_be_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run that was started with a password
    monkeypatch.setattr("sys.argv", ["start", "--broker", "redis://:SECRET@host"])
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tell_whole(tmp_path, "wandb", *FIRST_START)
    # When it is told, then no file has it
    told = [path.read_bytes() for path in tmp_path.glob("wandb/offline-run-*/**/*") if path.is_file()]
    assert told
    assert not [content for content in told if b"SECRET" in content]


def test_a_run_of_two_starts_is_one_at_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a run that was killed and taken up again, without a word on sending it anywhere
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tell_whole(tmp_path, "wandb:study", *FIRST_START, rounds=7)
    wait_until(lambda: f"{datetime.now():%H%M%S}" not in str(list(tmp_path.glob("wandb/*"))), "the next second")
    tell_whole(tmp_path, "wandb:study", *SECOND_START, rounds=7)
    # When what is there is read, then it is two files of one run, to be sent one after the other
    paths = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    found = [list(records(path)) for path in paths]
    begun = [record.run for each in found for record in each if record.WhichOneof("record_type") == "run"]
    assert {(run.run_id, run.project) for run in begun} == {("run", "study")}
    assert len(paths) == 2
    settings = {
        each.key: json.loads(each.value_json) for each in begun[0].config.update if not each.key.startswith("_")
    }
    assert settings == {"workload": "tests.support:Pull", "algorithm": "fedavg", "rounds": 7}
    # And each number is there once, by its round, in steps that only go up
    logged = [record.history for each in found for record in each if record.WhichOneof("record_type") == "history"]
    steps = [history.step.num for history in logged]
    assert steps == sorted(set(steps))
    told: dict[str, list[tuple[int, float]]] = {}
    for history in logged:
        items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in history.item}
        for name in items.keys() & NUMBERS.keys():
            told.setdefault(name, []).append((items["round"], items[name]))
    assert told == NUMBERS
