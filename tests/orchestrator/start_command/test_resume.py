from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from orchestrator.config import RunConfig
from orchestrator.driver.summary import summarise
from orchestrator.start import main
from orchestrator.store.facts import OWN_CODE
from orchestrator.store.records import Summary
from orchestrator.store.run_folder import RunFolder
from tasks.arrays import write_file
from tasks.errors import RunFolderError
from tests.orchestrator.start_command.invoking import begun, config_of, one_line, refused
from tests.support import round_record, run_config


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
        "--resume goes on with the run's own settings, but for --rounds, --stop-when, --patience, --keep, --observe, "
        "--log-format: leave out --clients, --evaluate-clients"
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


def test_programs_that_a_run_s_folder_names_are_run_only_if_they_are_repeated(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run's folder, of somebody else maybe, whose workload are programs
    programs = "command,initial=rm -r a,train=sh b"
    RunFolder.create(cwd / "one", run_config(workload=programs))
    # When it is to be resumed, then that is refused, and so is another workload than its own
    assert one_line(refused("--resume", "one")) == (
        f"the run in one runs programs: repeat them if they are to be run here, --workload '{programs}'"
    )
    assert one_line(refused("--resume", "one", "--workload", "digits")) == (
        f"--workload digits: the run in one trains {programs!r}, leave it out"
    )
    # When they are repeated, in whatever order, then it goes on
    changed = config_of(monkeypatch, "--resume", "one", "--workload", "command,train=sh b,initial=rm -r a")
    assert changed == run_config(workload=programs)


def test_a_run_isnt_given_rounds_for_which_its_schedule_has_nothing_that_is_allowed(cwd: Path) -> None:
    # Given a run with epochs that are halved, when it is given more rounds than they can be halved
    RunFolder.create(cwd / "one", run_config(rounds=2, schedule={"epochs": "step:2:0.5:1"}))
    # Then it is refused before anything starts
    assert "--schedule, in round 3: " in one_line(refused("--resume", "one", "--rounds", "4"))


def test_a_run_whose_config_is_damaged_cant_be_resumed(cwd: Path) -> None:
    # Given a run with half a config, when it is to be resumed, then the message names the file
    folder = RunFolder.create(cwd / "one", run_config())
    (folder.path / "config.json").write_text('{"run_id": "one"')
    assert one_line(refused("--resume", "one")).startswith(f"{cwd / 'one' / 'config.json'} is damaged: ")


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

    def meanwhile(config: RunConfig, folder: RunFolder, *_: object) -> tuple[Summary, int]:
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


def test_a_run_whose_own_code_has_changed_is_resumed_if_that_is_said(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run of a user's own aggregator, and of a selector of ours
    own = cwd / "summed_up.py"
    own.write_text("def aggregate(updates, context): return {}\n")
    config_of(monkeypatch, "--run-dir", "one", "--aggregator", "summed_up:aggregate", "--select", "random")
    assert OWN_CODE.of(RunFolder.open(cwd / "one")).keys() == {"summed_up:aggregate"}
    config_of(monkeypatch, "--resume", "one")
    # When its file has changed, then the run isn't resumed as if nothing had happened
    own.write_text("def aggregate(updates, context): return {'x': 1}\n")
    assert one_line(refused("--resume", "one")) == (
        f"summed_up:aggregate: the file has changed since the run in {cwd / 'one'} began: go on with it as it is now "
        "by --accept-changed-code (federate(accept_changed_code=True)), or put it back"
    )
    # And it is if that is accepted, from then on with the code as it is
    config_of(monkeypatch, "--resume", "one", "--accept-changed-code")
    config_of(monkeypatch, "--resume", "one")
    assert "leave out" in one_line(refused("--run-dir", "two", "--accept-changed-code"))
