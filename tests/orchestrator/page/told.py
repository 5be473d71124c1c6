"""Runs' folders for the tests of the page: what such a run has told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.observers import ObserverContext
from orchestrator.observers.events import (
    ClientsEvaluated,
    ClientsJoined,
    ClientsLeft,
    Event,
    Initialised,
    JobDone,
    LeftOut,
    ModelEvaluated,
    Outcome,
    ResponsesLate,
    RoundClosed,
    RoundOpened,
    RunEnded,
    RunStarted,
    SlotsFilled,
    UpdatesJudged,
    Waiting,
)
from orchestrator.observers.events_file import EventsFile
from orchestrator.page.state import RunState
from orchestrator.store.run_folder import RunFolder
from tasks.messages import Status
from tests.orchestrator.observers.telling import SUMMARY
from tests.support import run_config

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ATTACK = "<script>document.title='taken'</script>"


class Told:
    """Tells events into a run's folder, each at a time of its own.

    Args:
        path: The run's folder, which is made.
        config: Of its config, what isn't as by default.
    """

    def __init__(self, path: Path, **config: Any) -> None:
        self.folder = RunFolder.create(path, run_config(**config))
        self.rounds = self.folder.config().rounds
        self._context = ObserverContext(path, self.folder.config(), "", Console())

    def tell(self, event: Event, at_s: float = 0.0) -> None:
        """Tell an event so many seconds after the run's beginning."""
        time = (BEGIN + timedelta(seconds=at_s)).isoformat(timespec="microseconds")
        file = EventsFile(self._context)
        file.observe(event.model_copy(update={"time": time, "run_id": "run"}))
        file.close()

    def begin(self, *client_ids: str) -> None:
        """The run begins, these clients connect, and the first model is there."""
        self.tell(started(self.rounds))
        self.tell(Waiting(num_connected=0, num_needed=len(client_ids)))
        self.tell(ClientsJoined(clients=dict.fromkeys(client_ids, 100)), at_s=1)
        self.tell(JobDone(round_number=0, job="initialise", duration_s=0.5), at_s=1.5)
        self.tell(Initialised(metrics={"loss": 2.0, "accuracy": 0.1}), at_s=2)

    def close(self, number: int, *client_ids: str, at_s: float = 0.0, **changes: Any) -> None:
        """A round of ten seconds that takes in these clients' updates."""
        self.tell(RoundOpened(round_number=number, cohort=client_ids), at_s)
        slots = {client_id: trained() for client_id in client_ids}
        self.tell(SlotsFilled(round_number=number, slots=slots), at_s + 8)
        self.tell(UpdatesJudged(round_number=number, accepted=client_ids, rejected={}, scores={}), at_s + 10)
        self.tell(closed(number, num_clients=len(client_ids), num_accepted=len(client_ids), **changes), at_s + 10)
        metrics = {"loss": 1 / number, "accuracy": 1 - 1 / (number + 1)}
        self.tell(ModelEvaluated(round_number=number, metrics=metrics), at_s + 11)

    def trouble(self, number: int, at_s: float = 0.0) -> None:
        """A round in which one client each is accepted, rejected, lost, timed out and late, and fails."""
        cohort = ("anna", "bert", "carl", "dora", "emil")
        self.tell(RoundOpened(round_number=number, cohort=cohort), at_s)
        slots = {
            "anna": trained(),
            "bert": trained(),
            "carl": Outcome(status=Status.LOST, reason="the client vanished"),
            "dora": Outcome(status=Status.TIMED_OUT, num_examples=3, duration_s=9.0, size_bytes=10),
            "emil": Outcome(status=Status.FAILED, reason=ATTACK),
        }
        self.tell(SlotsFilled(round_number=number, slots=slots), at_s + 9)
        judged = UpdatesJudged(
            round_number=number,
            accepted=("anna",),
            rejected={"bert": "holdout 0.1: at least 0.5 is kept"},
            scores={"anna": {"holdout": 0.9}, "bert": {"holdout": 0.1}},
        )
        self.tell(judged, at_s + 10)
        self.tell(ResponsesLate(round_number=number, orders={"dora/run/1/train": "dora"}), at_s + 10)
        self.tell(JobDone(round_number=number, job="close_round", duration_s=0.5), at_s + 10)
        evaluated = ClientsEvaluated(round_number=number, metrics={"loss": 0.7}, num_evaluated=1, not_evaluated={})
        self.tell(evaluated, at_s + 10)
        self.tell(closed(number, num_clients=5, num_accepted=1), at_s + 10)
        self.tell(ClientsLeft(client_ids=("carl",)), at_s + 10)
        left_out = {"emil": Outcome(status=Status.FAILED, reason="again")}
        self.tell(LeftOut(round_number=number, num_rounds=3, slots=left_out), at_s + 10)

    def end(self, at_s: float = 100.0, **changes: Any) -> None:
        """The run ends."""
        summary = SUMMARY.model_copy(update=changes)
        self.folder.save_summary(summary)
        self.tell(RunEnded(summary=summary), at_s)


def started(rounds: int, **changes: Any) -> RunStarted:
    """The beginning of a run."""
    values = {"folder": Path("/runs/run"), "rounds": rounds, "rounds_closed": 0, "workload": "w", "algorithm": "fedavg"}
    return RunStarted.model_validate(values | changes)


def trained() -> Outcome:
    """What came of an order that was carried out."""
    metrics = {"train_loss": 0.25}
    return Outcome(status=Status.TRAINED, num_examples=100, duration_s=6.0, size_bytes=1000, metrics=metrics)


def closed(number: int, **changes: Any) -> RoundClosed:
    """The end of a round."""
    values = {
        "round_number": number, "status": "closed", "reason": "", "num_clients": 1, "num_accepted": 1,
        "train_metrics": {"train_loss": 0.5}, "duration_s": 10.0, "bytes_down": 2000, "bytes_up": 1000,
    }  # fmt: skip
    return RoundClosed.model_validate(values | changes)


def write_long(path: Path, num_rounds: int, *client_ids: str) -> None:
    """Make the folder of a run with many rounds, all of them closed and evaluated."""
    told = Told(path, rounds=num_rounds)
    with told.folder.events.open("w", encoding="utf-8") as file:
        for event in _long(num_rounds, client_ids):
            file.write(event.model_copy(update={"time": BEGIN.isoformat()}).model_dump_json() + "\n")


def _long(num_rounds: int, client_ids: tuple[str, ...]) -> Iterator[Event]:
    yield started(num_rounds)
    for number in range(1, num_rounds + 1):
        yield RoundOpened(round_number=number, cohort=client_ids)
        yield SlotsFilled(round_number=number, slots=dict.fromkeys(client_ids, trained()))
        yield UpdatesJudged(round_number=number, accepted=client_ids, rejected={}, scores={})
        yield closed(number, num_clients=len(client_ids), num_accepted=len(client_ids))
        yield ModelEvaluated(round_number=number, metrics={"loss": 1 / number})


def state_of(*events: tuple[float, Event]) -> RunState:
    """What events add up to, each told so many seconds after the run's beginning."""
    state = RunState()
    for at_s, event in events:
        time = (BEGIN + timedelta(seconds=at_s)).isoformat()
        state.take(event.model_copy(update={"time": time}))
    return state
