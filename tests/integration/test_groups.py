"""Orders that go together by one message: what becomes of the others when one of them goes wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from redis import Redis

from tests.integration import harness
from tests.integration.harness import Field, Program, history, wait_until

NUM_CLIENTS = 12
QUICK = 2
"""Rounds after which clients are known to be quick, so that their orders go together."""


def many(field: Field, broker: Redis, **environment: str) -> Program:
    """Start a worker of many clients with two pool processes."""
    settings = {"CLIENT_COUNT": str(NUM_CLIENTS), "CLIENT_CONCURRENCY": "2", **environment}
    return field.client(broker, "ward", **settings)


def run(
    field: Field, broker: Redis, run_dir: Path, rounds: int, *options: str, workload: str = "pulled:Pulled"
) -> Program:
    clients = f"--rounds {rounds} --clients {NUM_CLIENTS} --no-evaluate-clients"
    return field.run(run_dir, clients, *options, broker=broker, workload=workload)


def has_failed(run_dir: Path) -> bool:
    """Say whether a group was seen to fail."""
    return "a group of orders has failed" in (run_dir / "logs" / "orchestrator.log").read_text()


def hang_once(run_dir: Path, stuck: Path) -> Callable[[], bool]:
    """Have a process hang, and return what says whether the round in which one did is over."""
    num_closed = len(history(run_dir))
    stuck.touch()
    return lambda: not stuck.exists() and len(history(run_dir)) > num_closed + 1


def test_of_a_group_with_a_client_that_is_stuck_all_are_done(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given clients whose orders go together, and a process that hangs once, in compiled code
    run_dir, stuck = tmp_path / "run", tmp_path / "stuck"
    many(field, broker, STUCK=str(stuck), STEP_S="0.001")
    program = run(field, broker, run_dir, 40, "--timeout 2")
    wait_until(lambda: len(history(run_dir)) >= QUICK, "two rounds are closed")
    num_alone = -1
    while not has_failed(run_dir):  # on a busy machine it may be an order that went alone, as its client was slow
        num_alone += 1
        wait_until(hang_once(run_dir, stuck), "a process was ended that hung")
    program.succeeds()
    # Then it is ended at the order's hard limit, and what it hadn't answered is done by another
    found = Counter(status for statuses in harness.statuses(run_dir) for status in statuses.values())
    assert found["trained"] == found.total() - num_alone == 40 * NUM_CLIENTS - num_alone


def test_a_client_whose_process_dies_each_time_is_lost_and_no_other(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given clients whose orders go together, one of which ends its process from the third round on
    run_dir = tmp_path / "run"
    many(field, broker, CLIENT_WORKLOAD="dying:Dying", DIES="ward-05", DIES_FROM=str(QUICK + 1))
    run(field, broker, run_dir, QUICK + 1, workload="dying:Dying").succeeds()
    # Then its group has failed, it alone is lost, and it is said what became of it
    assert has_failed(run_dir)
    responses = history(run_dir)[-1]["responses"]
    assert {name: response["reason"] for name, response in responses.items() if response["status"] != "trained"} == {
        "ward-05": "the client's process died while it trained: it ended itself, with exit code 3"
    }
    assert responses["ward-05"]["status"] == "lost"


def kill_one(run_dir: Path, held: Path) -> None:
    """Kill a client's process as it is at an order, and wait for the next round.

    Args:
        run_dir: The run's folder.
        held: While this file is there orders are held up, and the processes that are at one have a file beside it.
    """
    held.touch()
    wait_until(lambda: waiting(held), "a process is at an order")
    num_closed, victim = len(history(run_dir)), waiting(held)[0]
    psutil.Process(int(victim.suffix[1:])).kill()
    for path in (held, *waiting(held)):
        path.unlink()
    wait_until(lambda: len(history(run_dir)) > num_closed + 1, "the round is over")


def waiting(held: Path) -> list[Path]:
    """The files of the processes that wait, or have waited."""
    return list(held.parent.glob(f"{held.name}.*"))


def test_a_group_whose_process_is_killed_is_trained_all_the_same(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given clients whose orders go together
    run_dir, held = tmp_path / "run", tmp_path / "held"
    many(field, broker, HELD=str(held))
    program = run(field, broker, run_dir, 40)
    wait_until(lambda: len(history(run_dir)) >= QUICK, "two rounds are closed")
    # When a process is killed that is at some of them
    num_alone = -1
    while not has_failed(run_dir):  # it may be at an order that went alone, as its client was slow
        num_alone += 1
        kill_one(run_dir, held)
    # Then all have trained in every round, but for whose order went alone
    program.succeeds()
    found = Counter(status for statuses in harness.statuses(run_dir) for status in statuses.values())
    assert found["trained"] == found.total() - num_alone == 40 * NUM_CLIENTS - num_alone
