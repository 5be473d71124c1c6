from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import RunConfig
from orchestrator.driver.summary import summarise
from orchestrator.store.records import Evaluated, OpenRound, SlotRecord, Summary
from orchestrator.store.run_folder import RunFolder
from tasks.errors import RunFolderError
from tasks.messages import Status
from tests.support import blob_ref, round_record, run_config

OPEN = OpenRound(round_number=3, cohort={"anna": "first"}, parameters=blob_ref(), started_at="2026-01-02T03:04:05Z")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs" / "one", run_config())


def history_of(folder: RunFolder) -> list[int]:
    return [record.round_number for record in folder.history()]


def test_how_good_the_initial_model_is_is_kept(tmp_path: Path) -> None:
    # Given a run, of whose initial model nothing is known before it is made
    folder = RunFolder.create(tmp_path / "run", run_config())
    assert folder.initial() == Evaluated()
    # When that is saved, then it is found again
    folder.save_initial(Evaluated(metrics={"loss": 2.5}))
    assert RunFolder.open(folder.path).initial() == Evaluated(metrics={"loss": 2.5})


def test_a_new_folder_holds_the_config_and_nothing_of_a_run(folder: RunFolder) -> None:
    # Given a new folder, when it is looked at, then there is the config, and places for what comes
    assert sorted(path.name for path in folder.path.iterdir()) == ["checkpoints", "config.json", "logs"]
    assert folder.config() == run_config()
    assert (folder.history(), folder.open_round(), folder.summary()) == ([], None, None)


def test_a_folder_on_a_file_system_that_is_only_read_is_opened(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_only_read(path: Path, _mode: int) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "chmod", is_only_read)
    assert RunFolder.open(folder.path).config() == run_config()


def test_the_files_have_these_names(tmp_path: Path) -> None:
    # Given a folder, when its files are asked for, then rounds have four digits, or more if need be
    folder = RunFolder(tmp_path)
    assert folder.checkpoint(0) == tmp_path / "checkpoints" / "round-0000.safetensors"
    assert folder.checkpoint(12_345) == tmp_path / "checkpoints" / "round-12345.safetensors"
    assert folder.updates(7) == tmp_path / "updates" / "round-0007"
    assert folder.updates(7, "survey") == tmp_path / "updates" / "round-0007-survey"
    assert folder.surveyed(7) == tmp_path / "updates" / "round-0007-surveyed.safetensors"
    assert folder.logs == tmp_path / "logs"


def test_the_config_is_saved_to_the_last_digit(tmp_path: Path) -> None:
    # Given a config with none of the defaults
    config = RunConfig.model_validate(
        {
            "run_id": "two",
            "workload": "own:Model",
            "data": "/data",
            "algorithm": "own:ALGORITHM",
            "select": "connected",
            "num_clients": 7,
            "rounds": 300,
            "fraction": 0.3,
            "min_updates": 3,
            "options": {"epochs": 2, "batch_size": 8, "learning_rate": 0.1 + 0.2},
            "seed": 2**70,
            "wait_timeout_s": 1.5,
            "timeout_s": 1e-3,
            "evaluate_clients": False,
            "max_failed_rounds": 1,
        }
    )
    # When it is saved and read, then it is the same
    RunFolder.create(tmp_path / "run", config)
    assert RunFolder.open(tmp_path / "run").config() == config


def test_what_an_earlier_version_called_otherwise_is_read(folder: RunFolder) -> None:
    # Given the folder of a run that an earlier version has begun, with two names of that time
    config = run_config(num_byzantine=2, aggregator="median", num_clients=5)
    written = config.model_dump_json().replace("num_byzantine", "num_hostile")
    folder.config_path.write_text(written, encoding="utf-8")
    folder.close_round(round_record(1))
    history = folder.path / "history.jsonl"
    history.write_text(history.read_text(encoding="utf-8").replace('"responses"', '"answers"'), encoding="utf-8")
    assert "num_hostile" in written
    assert '"answers"' in history.read_text(encoding="utf-8")
    # When it is opened, then all of it is there
    assert RunFolder.open(folder.path).config() == config
    assert folder.history() == [round_record(1)]


def test_an_empty_folder_will_do_for_a_new_run(tmp_path: Path) -> None:
    # Given an empty folder, when a run is made in it, then it is
    assert RunFolder.create(tmp_path, run_config()).config() == run_config()


def test_a_start_that_was_killed_before_it_had_a_config_is_begun_again(tmp_path: Path) -> None:
    # Given the folder of a start that was killed while it wrote its config
    (tmp_path / "config.json.4711.tmp").write_text('{"run_id": "ru')
    # When the same command is given again, then the run is made, and nothing else is there
    folder = RunFolder.create(tmp_path, run_config())
    assert folder.config() == run_config()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "config.json", "logs"]


def test_a_run_that_is_at_work_is_nobody_elses(folder: RunFolder) -> None:
    # Given a run that an orchestrator is at work on, in a folder that looks as if it had never been begun
    folder.save_summary(summarise(run_config(), folder, "failed", "no luck", 1.0))
    with folder.lock():
        # When another wants it, or the folder, then it is refused
        for want in (RunFolder.open(folder.path).lock, lambda: RunFolder.create(folder.path, run_config())):
            with pytest.raises(RunFolderError, match="another orchestrator is at work on the run in"):
                want()
    # And when that has ended, then it isn't
    RunFolder.open(folder.path).lock().close()


def test_who_looks_whether_a_run_is_on_keeps_nobody_from_it(folder: RunFolder) -> None:
    # Given somebody who looks a thousand times a second, as the page does
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            with folder.config_path.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH)
            time.sleep(0.001)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        # When a run is taken up again and again, then it is each time, and it shows
        for _ in range(100):
            with folder.lock():
                assert folder.is_at_work()
    finally:
        over.set()
        looking.join()
    assert not folder.is_at_work()


def test_a_folder_that_cant_be_made_is_told(tmp_path: Path) -> None:
    # Given a file where a folder would have to be, when a run is to be made below it, then the message says so
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="can't be made"):
        RunFolder.create(tmp_path / "file" / "run", run_config())


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"run_id": "x", "rounds": 0}', b'{"run_id": "x", "y": 1}', b"\xff"]
)
def test_a_damaged_config_is_told(folder: RunFolder, content: bytes) -> None:
    # Given a config that isn't one
    (folder.path / "config.json").write_bytes(content)
    # When it is read, then the message names the file, in one line
    with pytest.raises(RunFolderError, match=r"^.*config\.json is damaged: .*$") as caught:
        folder.config()
    assert "\n" not in str(caught.value)


def test_closed_rounds_are_lines_of_the_history(folder: RunFolder) -> None:
    # Given two rounds, one of which failed
    first = round_record(1)
    second = round_record(2, status="failed", reason="0 updates", responses={}, metrics={})
    # When they are closed
    folder.close_round(first)
    folder.close_round(second)
    # Then the history has both, a line each, with the fields that are documented
    assert folder.history() == [first, second]
    lines = (folder.path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["round_number"] for line in lines] == [1, 2]
    assert list(json.loads(lines[0])) == [
        "round_number", "status", "reason", "cohort", "responses", "train_metrics", "train_partial", "metrics",
        "evaluation_problem",
        "evaluation_due", "evaluation_s",
        "client_metrics", "client_partial", "client_spread", "client_evaluations",
        "num_evaluated", "not_evaluated", "checkpoint", "digest", "state_digest", "results",
        "started_at", "duration_s", "bytes_down", "bytes_up", "late",
    ]  # fmt: skip


def test_closing_a_round_removes_its_updates_and_that_it_is_open(folder: RunFolder) -> None:
    # Given an open round with an update
    folder.save_open_round(OPEN)
    folder.updates(3).mkdir(parents=True)
    (folder.updates(3) / "anna.json").write_text("{}")
    assert folder.open_round() == OPEN
    # When it is closed, then both are gone
    folder.close_round(round_record(3))
    assert folder.open_round() is None
    assert not folder.updates(3).exists()


def test_updates_of_rounds_that_are_not_closed_are_discarded(folder: RunFolder) -> None:
    # Given updates of two rounds
    for number in (3, 4):
        folder.updates(number).mkdir(parents=True)
    # When they are discarded, once more than there is something, then they are gone
    folder.discard_updates()
    folder.discard_updates()
    assert not (folder.path / "updates").exists()


def test_an_open_round_that_is_damaged_is_told(folder: RunFolder) -> None:
    # Given an open round that isn't one, when it is read, then the message names the file
    (folder.path / "open-round.json").write_text("{}")
    with pytest.raises(RunFolderError, match=r"open-round\.json is damaged"):
        folder.open_round()


@pytest.mark.parametrize("content", [b"", bytes(300)])
def test_an_open_round_that_a_loss_of_power_has_left_empty_is_none(folder: RunFolder, content: bytes) -> None:
    (folder.path / "open-round.json").write_bytes(content)
    assert folder.open_round() is None


def cut_history(folder: RunFolder, length: int) -> None:
    path = folder.path / "history.jsonl"
    path.write_bytes(path.read_bytes()[:length])


def test_a_last_line_that_was_cut_short_anywhere_is_no_round(folder: RunFolder) -> None:
    # Given two rounds, the second with a client's reason in letters of two bytes
    slot = SlotRecord(status=Status.FAILED, reason="Gerät läuft heiß")
    folder.close_round(round_record(1))
    length = (folder.path / "history.jsonl").stat().st_size
    folder.close_round(round_record(2, responses={"anna": slot}))
    whole = (folder.path / "history.jsonl").read_bytes()
    # When the last line is cut at any byte, then the first round is all there is, and the second can be closed again
    wrong = []
    for cut in range(length, len(whole)):
        (folder.path / "history.jsonl").write_bytes(whole[:cut])
        try:
            assert history_of(folder) == [1]
            folder.close_round(round_record(2, responses={"anna": slot}))
            assert (folder.path / "history.jsonl").read_bytes() == whole
        except ValueError as error:
            wrong.append((cut - length, type(error).__name__))
    assert wrong == []


def test_a_first_line_that_was_cut_short_is_no_round(folder: RunFolder) -> None:
    # Given one round whose line was cut short
    folder.close_round(round_record(1))
    cut_history(folder, 40)
    # When it is read, then there is none, and the round is closed anew
    assert folder.history() == []
    folder.close_round(round_record(1))
    assert history_of(folder) == [1]


@pytest.mark.parametrize("line", [b"{}\n", b"\n", b'{"round_number": 2\n', b"[1]\n", b"\xff\xfe\n"])
def test_a_damaged_line_in_the_middle_is_told(folder: RunFolder, line: bytes) -> None:
    # Given a history with something else between two rounds
    folder.close_round(round_record(1))
    with (folder.path / "history.jsonl").open("ab") as file:
        file.write(line)
    with (folder.path / "history.jsonl").open("a") as file:
        file.write(round_record(3).model_dump_json() + "\n")
    # When it is read, then nothing is made up, and the message names the file
    with pytest.raises(RunFolderError, match=r"history\.jsonl is damaged"):
        folder.history()


@given(reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from("\x85\u2028\u2029\x1c"))
def test_whatever_a_client_says_the_history_can_be_read_again(
    tmp_path_factory: pytest.TempPathFactory, reason: str
) -> None:
    # Given two rounds, the first of which holds a client's own words
    folder = RunFolder.create(tmp_path_factory.mktemp("run"), run_config())
    records = [
        round_record(1, responses={"anna": SlotRecord(status=Status.FAILED, reason=reason)}),
        round_record(2),
    ]
    # When they are closed, then they are read as they were
    for record in records:
        folder.close_round(record)
    assert folder.history() == records


def test_a_summary_is_kept_and_replaced(folder: RunFolder) -> None:
    # Given a run that failed and was taken up again
    folder.close_round(round_record(1))
    failed = summarise(run_config(), folder, "failed", "no luck", 1.23456)
    folder.save_summary(failed)
    assert folder.summary() == failed
    folder.close_round(round_record(2, metrics={"loss": 0.25}, client_metrics={"accuracy": 0.5}))
    # When it is summed up again
    folder.save_summary(summarise(run_config(seed=3), folder, "completed", "", 2.0))
    # Then the last round counts
    assert folder.summary() == Summary(
        run_id="run",
        status="completed",
        rounds=2,
        best_round=2,
        final={"loss": 0.25},
        client_metrics={"accuracy": 0.5},
        seed=3,
        workload="tests.support:Pull",
        algorithm="fedavg",
        checkpoint="checkpoints/round-0002.safetensors",
        wall_time_s=2.0,
    )
    assert (failed.reason, failed.wall_time_s, failed.rounds) == ("no luck", 1.235, 1)


def test_a_run_without_rounds_is_summed_up_as_its_initial_model(folder: RunFolder) -> None:
    # Given a run that ended before its first round, when it is summed up, then there is nothing to say it by
    summary = summarise(run_config(), folder, "interrupted", "SIGINT", 0.0)
    assert (summary.rounds, summary.final, summary.checkpoint) == (0, {}, "checkpoints/round-0000.safetensors")


def test_the_files_of_a_closed_rounds_updates_are_given_away(folder: RunFolder) -> None:
    # Given a round whose updates were taken in, in two exchanges
    for exchange in ("train", "survey"):
        folder.updates(1, exchange).mkdir(parents=True)
        folder.update(1, "anna", exchange).write_bytes(b"update")
    folder.slots(1).write_text("{}")
    given: list[Path] = []

    def recycle(paths: Iterable[Path]) -> None:
        given.extend(paths)
        assert all(path.exists() for path in given)
        assert folder.open_round() is None

    # When it is closed, then nothing is left, and who was given the files had them, when no round was open any more
    folder.close_round(round_record(), recycle)
    assert sorted(given) == sorted(folder.update(1, "anna", exchange) for exchange in ("train", "survey"))
    assert not (folder.path / "updates").exists()


def test_a_history_without_lengths_of_updates_is_still_read(folder: RunFolder) -> None:
    # Given a line of a version that didn't measure updates
    line = json.loads(round_record().model_dump_json())
    assert line["responses"]["anna"].pop("lengths") == {}
    (folder.path / "history.jsonl").write_text(json.dumps(line) + "\n")
    # When it is read, then it is the record, with nothing known of lengths
    assert folder.history() == [round_record()]
