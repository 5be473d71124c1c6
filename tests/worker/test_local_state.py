from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tasks.names import update_name
from worker.local_state import MAX_RUNS, LocalState


def state(value: float) -> dict[str, dict[str, np.ndarray]]:
    return {"c": {"w": np.array([value])}}


def name(number: int, digest: str = "a") -> str:
    return update_name(number, digest * 64)


def test_a_new_client_has_none(tmp_path: Path) -> None:
    assert LocalState(tmp_path, "run").load("") == {}
    assert LocalState(tmp_path, "run").load(name(3)) == {}


def test_what_belongs_to_an_accepted_update_is_there_in_the_next_round_also_after_a_restart(tmp_path: Path) -> None:
    # Given a round that was carried out, when the next order says that it was accepted, then its state is there
    LocalState(tmp_path, "run").save(name(1), state(1.0))
    assert LocalState(tmp_path, "run").load(name(1)) == state(1.0)
    # And again, should that order come a second time
    assert LocalState(tmp_path, "run").load(name(1)) == state(1.0)


def test_what_belongs_to_an_update_that_was_not_accepted_is_never_used(tmp_path: Path) -> None:
    # Given a round that was accepted, and two that were not
    kept = LocalState(tmp_path, "run")
    for number in (1, 2, 3):
        kept.save(name(number), state(float(number)))
    # When the next order says so, then the state is that of the first
    assert kept.load(name(1)) == state(1.0)
    # And when the one after a later one that is accepted has trained, what is older is removed
    kept.save(name(4), state(4.0))
    assert kept.load(name(4)) == state(4.0)
    assert kept.load(name(1)) == state(1.0)
    assert kept.load(name(4)) == state(4.0)
    kept.save(name(5), state(5.0))
    assert len(list((tmp_path / "runs" / "run").iterdir())) == 2


def test_an_order_that_is_carried_out_twice_doesnt_replace_what_belongs_to_the_update_that_counts(
    tmp_path: Path,
) -> None:
    # Given two updates of one round, of which the second was cut short
    kept = LocalState(tmp_path, "run")
    kept.save(name(1, "a"), state(1.0))
    kept.save(name(1, "b"), state(0.5))
    # When the first is the one that was accepted, then its state counts
    assert kept.load(name(1, "a")) == state(1.0)


def test_a_file_that_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    # Given a file of a former round and one that isn't whole yet
    kept = LocalState(tmp_path, "run")
    kept.save(name(1), state(1.0))
    kept.save(name(2), state(2.0))
    unfinished = tmp_path / "runs" / "run" / "after-round-0003.safetensors.77.tmp"
    unfinished.write_bytes(b"")
    # When the state is loaded, then that one stays
    assert kept.load(name(2)) == state(2.0)
    assert unfinished.exists()


def test_what_no_order_will_ask_for_is_written_over_where_it_is_as_long(tmp_path: Path) -> None:
    # Given two rounds, of which the second was accepted: the first is of no use any more, and somebody reads it still
    kept, folder = LocalState(tmp_path, "run"), tmp_path / "runs" / "run"
    files = [folder / f"after-round-{name(number)}.safetensors" for number in range(4)]
    kept.save(name(1), state(1.0))
    kept.save(name(2), state(2.0))
    with files[1].open("rb") as first:
        # When a state of the same length is kept, then it is in the first one's file
        kept.load(name(2))
        kept.save(name(3), state(3.0))
        assert os.path.samestat(os.fstat(first.fileno()), files[3].stat())
    assert (kept.load(name(2)), kept.load(name(3))) == (state(2.0), state(3.0))
    with files[2].open("rb") as second:
        # And when one of another length is, then what is read isn't cut short
        kept.save(name(4), {"c": {"w": np.arange(100.0)}})
        assert os.fstat(second.fileno()).st_size == files[3].stat().st_size
    assert (files[1].exists(), files[2].exists()) == (False, False)


def test_each_run_has_its_own_and_the_oldest_are_removed(tmp_path: Path) -> None:
    # Given more runs than are kept, one after the other
    for number in range(MAX_RUNS + 2):
        LocalState(tmp_path, f"run-{number}").save(name(1), state(float(number)))
        os.utime(tmp_path / "runs" / f"run-{number}", (number, number))
    # Then the newest have their state
    left = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(left) == MAX_RUNS
    assert LocalState(tmp_path, f"run-{MAX_RUNS + 1}").load(name(1)) == state(float(MAX_RUNS + 1))
    assert LocalState(tmp_path, "run-0").load(name(1)) == {}


def test_what_is_gone_is_told_when_there_is_something_to_keep_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a client of whose accepted update nothing is left, and an algorithm that keeps nothing
    kept = LocalState(tmp_path, "run")
    assert kept.load(name(1)) == {}
    kept.save(name(2), {})
    # When something is to be kept after all, then that it was gone is known from then on, and in the log
    before = kept.began_anew
    kept.save(name(2), state(2.0))
    assert (before, kept.began_anew) == (False, True)
    assert [record.getMessage() for record in caplog.records] == [
        f"what this client kept with its update {name(1)} is gone: it began anew"
    ]
    # And with nothing accepted yet, or with what was kept, nothing was gone
    for accepted in ("", name(2)):
        kept = LocalState(tmp_path, "run")
        kept.load(accepted)
        kept.save(name(3), state(3.0))
        assert not kept.began_anew


def test_what_is_of_another_kind_is_kept_apart(tmp_path: Path) -> None:
    # Given an update to which belong a state and something else, of one name
    LocalState(tmp_path, "run").save(name(1), state(1.0))
    LocalState(tmp_path, "run", "other").save(name(1), state(2.0))
    # When each is loaded, then it is its own
    assert LocalState(tmp_path, "run").load(name(1)) == state(1.0)
    assert LocalState(tmp_path, "run", "other").load(name(1)) == state(2.0)


def test_an_algorithm_that_keeps_nothing_leaves_no_folder(tmp_path: Path) -> None:
    LocalState(tmp_path, "run").save(name(1), {})
    assert list(tmp_path.iterdir()) == []
