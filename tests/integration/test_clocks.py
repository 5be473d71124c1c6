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


@pytest.mark.parametrize(
    ("who", "shift_s", "after_s"),
    [
        ("orchestrator", -DAYS_S, 0),
        ("orchestrator", DAYS_S, 0),
        ("orchestrator", DAYS_S, 3),
        ("client", -DAYS_S, 0),
        ("client", DAYS_S, 0),
        ("client", -DAYS_S, 3),
    ],
)
def test_a_clock_that_is_days_off_changes_nothing(
    field: Field, broker: Redis, tmp_path: Path, who: str, shift_s: int, after_s: int
) -> None:
    # Given a clock that is days off from the start on, or jumps in the middle of the run
    (tmp_path / "sitecustomize.py").write_text(SHIFTED)
    shifted = {
        "PYTHONPATH": f"{tmp_path}:{harness.ROOT}", "SHIFT_S": str(shift_s), "SHIFT_AFTER_S": str(after_s),
        "SHIFTED": str(tmp_path / "shifted"),
    }  # fmt: skip
    of_clients, of_orchestrator = (shifted, {}) if who == "client" else ({}, shifted)
    run_dir = tmp_path / "run"

    # When a run is carried out, in rounds with a timeout
    field.clients(broker, 2, STEP_S="0.1", **of_clients)
    wait_until(lambda: len(harness.present(broker)) == 2, "the clients are there")
    program = field.run(run_dir, f"--rounds {ROUNDS} --timeout 20", broker=broker, **of_orchestrator)

    # Then it is completed, and nobody was late or lost
    program.succeeds()
    assert (tmp_path / "shifted").exists()
    assert [set(record["responses"]) for record in history(run_dir)] == [{"client-1", "client-2"}] * ROUNDS
    assert {a["status"] for record in history(run_dir) for a in record["responses"].values()} == {"trained"}
