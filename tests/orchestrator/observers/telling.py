"""Events for the tests of observers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.observers import ObserverContext, load_observer
from orchestrator.observers.events import (
    Event,
    Initialised,
    ModelEvaluated,
    RoundClosed,
    RunEnded,
    RunStarted,
    told_of,
)
from orchestrator.store.records import Summary
from tasks.metrics import Spread
from tests.support import round_record, run_config


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


def whole_round(round_number: int) -> list[Event]:
    """All that is told of a round in numbers; its model is evaluated when the next is closed, if there is one."""
    record = round_record(
        round_number,
        train_metrics={"train_loss": 1 / 2**round_number},
        client_metrics={"accuracy": 0.5},
        client_spread={"accuracy": Spread(deviation=0.25, worst=0.25)},
        num_evaluated=2,
    )
    return list(told_of(record))


def evaluated(round_number: int) -> ModelEvaluated:
    """What came of a round's model: its loss is the round's number."""
    return ModelEvaluated(round_number=round_number, metrics={"loss": float(round_number)})


INITIALISED = Initialised(metrics={"loss": 0.0})
FIRST_START: list[Event] = [
    STARTED, INITIALISED, *whole_round(1), *whole_round(2), evaluated(1), evaluated(2),
]  # fmt: skip
"""A run that is killed after two rounds,"""
SECOND_START: list[Event] = [
    STARTED.model_copy(update={"rounds_closed": 2, "is_evaluated": True}),
    INITIALISED, *whole_round(3), evaluated(3), ENDED,
]  # fmt: skip
"""and gone on with."""
NUMBERS: dict[str, list[tuple[int, float]]] = {
    "held_out/loss": [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)],
    "clients/accuracy": [(1, 0.5), (2, 0.5), (3, 0.5)],
    "worst_client/accuracy": [(1, 0.25), (2, 0.25), (3, 0.25)],
    "training/train_loss": [(1, 0.5), (2, 0.25), (3, 0.125)],
    "round/num_clients": [(1, 1), (2, 1), (3, 1)],
    "round/num_accepted": [(1, 1), (2, 1), (3, 1)],
    "round/num_rejected": [(1, 0), (2, 0), (3, 0)],
    "round/duration_s": [(1, 1.5), (2, 1.5), (3, 1.5)],
    "round/bytes_down": [(1, 100), (2, 100), (3, 100)],
    "round/bytes_up": [(1, 200), (2, 200), (3, 200)],
}
"""What trackers are told of both, by round."""


def tell(folder: Path, spec: str, *events: Event, **changes: Any) -> None:
    """Have a built-in observer take events, and close it."""
    make, parameter = load_observer(spec)
    observer = make(ObserverContext(folder, run_config(**changes), parameter, Console()))
    for event in events:
        observer.observe(event)
    observer.close()
