from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.contender import Case, DidNotCompleteError, Limit
from benchmarks.contenders.floor import Floor
from benchmarks.contenders.ours import CONSTANT, Ours
from benchmarks.contenders.programs import programs
from benchmarks.sampling import children
from tasks.cores import num_cores

LIMIT_S = 240.0


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Check that no process is left that wasn't there before: other tests may have had one started that stays."""
    before = set(children(os.getpid()))
    yield
    assert set(children(os.getpid())) <= before


@pytest.mark.parametrize("tcp", [False, True])
def test_the_floor_moves_the_bytes_of_a_round_and_nothing_else(tcp: bool, tmp_path: Path) -> None:
    # Given a real server, when the floor carries out two rounds of three clients with 20 MB, several chunks each
    outcome = Floor(tcp=tcp).run(Case(3, 20), 2, tmp_path, Limit(LIMIT_S))
    # Then there are two rounds
    assert len(outcome.rounds_s) == 2
    assert all(seconds > 0 for seconds in outcome.rounds_s)
    # And the broker was sent the model and three updates, and sent the model three times and three updates
    assert outcome.broker_in_mb == pytest.approx(80, rel=0.01)
    assert outcome.broker_out_mb == pytest.approx(120, rel=0.01)
    # And it held at least a model and an update
    above_idle = outcome.above_idle_mb("broker")
    assert above_idle is not None
    assert above_idle > 30


def test_this_project_carries_out_rounds_and_ends(tmp_path: Path) -> None:
    # Given two clients and 0.4 MB, when two complete rounds are carried out on this machine alone
    embedded = Ours(shared=num_cores() < 2)
    outcome = embedded.run(Case(2, 0.4), 2, tmp_path, Limit(LIMIT_S))
    # Then there are as many, the model was right, and each role's processes were seen
    assert len(outcome.rounds_s) == 2
    assert outcome.peak_mb.keys() >= {"orchestrator", "worker", "broker", "clients", "server", "all"}
    assert all(size > 1 for size in outcome.idle_mb.values() if size)
    # And messages alone went through the broker, as all is on one machine
    assert outcome.broker_in_mb is not None
    assert 0 < outcome.broker_in_mb < 0.4
    assert outcome.broker_out_mb is not None
    assert 0 < outcome.broker_out_mb < 0.4


def test_a_status_other_than_what_was_expected_is_told_of(tmp_path: Path) -> None:
    # Given two clients, one of which fails, though all are to train
    contender = Ours(shared=num_cores() < 2, workload=f"{CONSTANT},fails=client-2")
    # When they are to carry out rounds, then it is said whose status it was, and which
    with pytest.raises(DidNotCompleteError, match=r"1: client-2 failed train\(\): RuntimeError: this client fails"):
        contender.run(Case(2, 0.4), 2, tmp_path, Limit(LIMIT_S))


def test_a_limit_ends_all_that_was_started(tmp_path: Path) -> None:
    # Given a limit that is over at once, when rounds are to be carried out, then they are given up
    with pytest.raises(DidNotCompleteError, match="not within 0 s"):
        Ours().run(Case(2, 0.4), 2, tmp_path, Limit(0))


def test_a_program_that_fails_is_told_of_with_what_it_said_last(tmp_path: Path) -> None:
    # Given a program that ends at once
    with programs(tmp_path) as started:
        started.python("floor", "benchmarks.contenders.floor", "redis://127.0.0.1:1", "2", "1", "1", "nowhere")
        # When something is waited for, then the program's end is the reason why there is nothing
        with pytest.raises(DidNotCompleteError, match=r"floor ended with code 1: .*Connection refused"):
            started.wait_for_json(tmp_path / "result.json", Limit(LIMIT_S))
