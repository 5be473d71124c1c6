"""Pool processes of the orchestrator's own worker that are killed at their work."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from redis import Redis

from tests.integration.harness import ROOT, WORKLOADS, Field, history, wait_until

SCORER = """
import os
import time
from pathlib import Path

from verification import alone

HERE = Path(__file__).parent


def stop_once() -> None:
    try:
        (HERE / "stopped").touch(exist_ok=False)
    except FileExistsError:
        return
    (HERE / "pid").write_text(str(os.getpid()))
    time.sleep(600)


@alone
def as_it_comes(candidates, context):
    stop_once()
    return {candidate.client_id: 1.0 for candidate in candidates}


def at_the_end(candidates, context):
    stop_once()
    return {candidate.client_id: 1.0 for candidate in candidates}
"""


@pytest.mark.parametrize(
    ("scorer", "crowd"),
    [("as_it_comes", ""), ("at_the_end", ""), ("at_the_end", "--in-flight-mb 0.0001")],
    ids=["as_it_comes", "at_the_end", "at_the_end of a crowded round"],
)
def test_a_pool_process_that_is_killed_at_its_work_costs_no_round(
    field: Field, broker: Redis, tmp_path: Path, scorer: str, crowd: str
) -> None:
    # Given a run whose own worker stands still once: while it takes an update in, or while it closes a round
    run_dir, folder = tmp_path / "run", tmp_path / "own"
    folder.mkdir()
    (folder / "own_scorer.py").write_text(SCORER)
    field.clients(broker, 2)
    options = f"--rounds 2 --no-evaluate-clients --verify own_scorer:{scorer} --threshold 0 {crowd}"
    path = f"{folder}:{WORKLOADS}:{ROOT}"
    program = field.run(run_dir, options, broker=broker, cwd=folder, PYTHONPATH=path)
    # When the process that does it is killed
    pid = wait_until(lambda: (folder / "pid").exists() and (folder / "pid").read_text(), "the process stands still")
    psutil.Process(int(pid)).kill()
    # Then its work is done again, each update counts, and the run completes
    program.succeeds()
    records = history(run_dir)
    assert [record["status"] for record in records] == ["closed", "closed"]
    assert all(response["status"] == "trained" for record in records for response in record["responses"].values())
