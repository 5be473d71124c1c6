"""Events for the tests of observers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.observers.events import RoundClosed, RunEnded, RunStarted, told_of
from orchestrator.store.records import Summary
from tests.support import round_record


def closed(round_number: int, **changes: Any) -> RoundClosed:
    """The end of a round."""
    *_, event = told_of(round_record(round_number, **changes))
    assert isinstance(event, RoundClosed)
    return event


STARTED = RunStarted(
    run_id="run", folder=Path("/runs/run"), rounds=10, rounds_closed=0, workload="digits", algorithm="fedavg"
)
CLOSED = closed(3)
FAILED = closed(4, status="failed", reason="0 updates", metrics={}, duration_s=0.125)
SUMMARY = Summary(
    run_id="run",
    status="completed",
    rounds=2,
    final={"loss": 0.5, "accuracy": 0.75},
    seed=0,
    workload="digits",
    algorithm="fedavg",
    checkpoint="checkpoints/round-0002.safetensors",
    wall_time_s=3.0,
)
ENDED = RunEnded(summary=SUMMARY)
