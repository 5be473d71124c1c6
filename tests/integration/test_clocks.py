"""Clocks that are days off: the orchestrator's, or a client's."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from tests.integration import harness
from tests.integration.harness import Field, history, wait_until

DAYS_S = 3 * 24 * 3600
ROUNDS = 4
SHIFTED = """
import os, time

now, seconds, began = time.time, time.monotonic, time.monotonic()
shift_s, after_s = float(os.environ["SHIFT_S"]), float(os.environ["SHIFT_AFTER_S"])
time.time = lambda: now() + (shift_s if seconds() - began >= after_s else 0)
open(os.environ["SHIFTED"], "w").close()
"""
"""What Python runs at its start, where it is found as ``sitecustomize``: shifts the clock, and leaves a sign of it."""


OFF = ((-DAYS_S, 0), (DAYS_S, 0), (-DAYS_S, 3))
"""By how much clocks are shifted, and after how many seconds: from the start on, or in the middle of the run."""


def shifted(folder: Path, who: str, shift_s: int, after_s: int) -> dict[str, str]:
    """The environment of a program whose clock is off; what has such a clock leaves a sign."""
    (folder / "sitecustomize.py").write_text(SHIFTED)
    return {
        "PYTHONPATH": f"{folder}:{harness.ROOT}", "SHIFT_S": str(shift_s), "SHIFT_AFTER_S": str(after_s),
        "SHIFTED": str(folder / f"shifted-{who}"),
    }  # fmt: skip


def check_nobody_was_late_or_lost(run_dir: Path, cohort: set[str]) -> None:
    """Check that all clients have trained in each round."""
    assert [set(record["responses"]) for record in history(run_dir)] == [cohort] * ROUNDS
    assert {a["status"] for record in history(run_dir) for a in record["responses"].values()} == {"trained"}


@pytest.mark.parametrize(("shift_s", "after_s"), [(-DAYS_S, 0), (DAYS_S, 0), (DAYS_S, 3)])
def test_an_orchestrators_clock_that_is_days_off_changes_nothing(
    field: Field, broker: Redis, tmp_path: Path, shift_s: int, after_s: int
) -> None:
    # Given two clients, and an orchestrator whose clock is days off from the start on, or jumps in the run's middle
    field.client(broker, "client", CLIENT_COUNT="2", CLIENT_CONCURRENCY="2", STEP_S="0.1")
    wait_until(lambda: len(harness.present(broker)) == 2, "the clients are there")

    # When a run is carried out, in rounds with a timeout
    clock = shifted(tmp_path, "orchestrator", shift_s, after_s)
    program = field.run(tmp_path / "run", f"--rounds {ROUNDS} --timeout 20", broker=broker, **clock)

    # Then it is completed, and nobody was late or lost
    program.succeeds()
    assert (tmp_path / "shifted-orchestrator").exists()
    check_nobody_was_late_or_lost(tmp_path / "run", {"client-1", "client-2"})


def test_clients_clocks_that_are_days_off_change_nothing(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given clients whose clocks are days behind or ahead, each by its own, from the start on or from the run's middle
    cohort = [f"client-{number}" for number in range(1, len(OFF) + 1)]
    for number, (client_id, off) in enumerate(zip(cohort, OFF, strict=True), start=1):
        clock = shifted(tmp_path, client_id, *off)
        field.client(broker, client_id, **harness.part(number, len(OFF)), STEP_S="0.1", **clock)
    wait_until(lambda: len(harness.present(broker)) == len(OFF), "the clients are there")

    # When a run is carried out, in rounds with a timeout
    options = f"--rounds {ROUNDS} --timeout 20 --clients {len(OFF)}"
    program = field.run(tmp_path / "run", options, broker=broker)

    # Then it is completed, and nobody was late or lost
    program.succeeds()
    assert all((tmp_path / f"shifted-{client_id}").exists() for client_id in cohort)
    check_nobody_was_late_or_lost(tmp_path / "run", set(cohort))
