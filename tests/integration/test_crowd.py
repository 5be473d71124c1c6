"""The crowd that benchmarks simulate takes part in a run as clients do that have workers of their own."""

from __future__ import annotations

from pathlib import Path

from redis import Redis

from tests.integration import harness
from tests.integration.harness import Field, history, statuses, url, wait_until

WORKLOAD = "benchmarks.constant:Constant,mb=0.4"
COUNT, COHORT = 30, 4


def test_a_crowd_takes_part_in_a_run_and_ends_with_it(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a crowd, each of which has a connection of its own
    run_dir, folder = tmp_path / "run", str(tmp_path / "crowd")
    options = ("--clients", str(COUNT), "--workload", WORKLOAD, "--folder", folder)
    crowd = field.start("crowd", "benchmarks.crowd", "--broker", url(broker), *options, cwd=harness.ROOT)
    wait_until(lambda: len(harness.present(broker)) == COUNT, "all are there")
    wait_until(lambda: broker.info("clients")["blocked_clients"] == COUNT, "all wait for orders")
    # When some of it train in each round, and updates take turns
    options_of_run = f"--rounds 3 --clients {COUNT} --cohort {COHORT} --in-flight-mb 0.5 --no-evaluate-clients"
    run = field.run(run_dir, options_of_run, broker=broker, workload=WORKLOAD)
    run.succeeds()
    # Then all of these have, and the crowd ends when all were told to leave
    assert [set(record.values()) for record in statuses(run_dir)] == [{"trained"}] * 3
    assert [len(record["responses"]) for record in history(run_dir)] == [COHORT] * 3
    crowd.succeeds()
