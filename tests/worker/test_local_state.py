from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from worker.local_state import MAX_RUNS, LocalState


def state(value: float) -> dict[str, dict[str, np.ndarray]]:
    return {"c": {"w": np.array([value])}}


def test_a_new_client_has_none(tmp_path: Path) -> None:
    assert LocalState(tmp_path, "run").load(0) == {}
    assert LocalState(tmp_path, "run").load(3) == {}


def test_what_an_accepted_round_made_is_there_in_the_next_also_after_a_restart(tmp_path: Path) -> None:
    # Given a round that was carried out, when the next order says that it was accepted, then its state is there
    LocalState(tmp_path, "run").save(1, state(1.0))
    assert LocalState(tmp_path, "run").load(1) == state(1.0)
    # And again, should that order come a second time
    assert LocalState(tmp_path, "run").load(1) == state(1.0)


def test_what_a_round_made_that_was_not_accepted_is_forgotten(tmp_path: Path) -> None:
    # Given a round that was accepted, and two that were not
    kept = LocalState(tmp_path, "run")
    for number in (1, 2, 3):
        kept.save(number, state(float(number)))
    # When the next order says so, then the state is that of the first, and the others' are gone
    assert kept.load(1) == state(1.0)
    assert kept.load(3) == {}


def test_a_round_that_is_trained_again_replaces_what_it_made(tmp_path: Path) -> None:
    kept = LocalState(tmp_path, "run")
    kept.save(1, state(1.0))
    kept.save(1, state(5.0))
    assert kept.load(1) == state(5.0)


def test_each_run_has_its_own_and_the_oldest_are_removed(tmp_path: Path) -> None:
    # Given more runs than are kept, one after the other
    for number in range(MAX_RUNS + 2):
        LocalState(tmp_path, f"run-{number}").save(1, state(float(number)))
        os.utime(tmp_path / "runs" / f"run-{number}", (number, number))
    # Then the newest have their state
    left = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(left) == MAX_RUNS
    assert LocalState(tmp_path, f"run-{MAX_RUNS + 1}").load(1) == state(float(MAX_RUNS + 1))
    assert LocalState(tmp_path, "run-0").load(1) == {}


def test_an_algorithm_that_keeps_nothing_leaves_no_folder(tmp_path: Path) -> None:
    LocalState(tmp_path, "run").save(1, {})
    assert list(tmp_path.iterdir()) == []
