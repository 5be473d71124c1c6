"""The events of a run, for its display and log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.store.records import RoundRecord, Summary
from tasks.messages import Metrics, Status


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run begins, or resumes after ``rounds_closed`` rounds."""

    run_id: str
    folder: Path
    rounds: int
    rounds_closed: int
    workload: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Too few clients are connected; with a reason: enough are connected, but too few fit the selector."""

    num_connected: int
    num_needed: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ClientJoined:
    """A client has connected."""

    client_id: str
    num_examples: int


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """A client is gone."""

    client_id: str


@dataclass(frozen=True, slots=True)
class Initialised:
    """The initial model exists; with a problem: it could not be evaluated."""

    metrics: Metrics
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RoundOpened:
    """The orders of a round are out."""

    round_number: int
    cohort: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JoinedLive:
    """A client joined an open round."""

    round_number: int
    client_id: str


@dataclass(frozen=True, slots=True)
class SlotFilled:
    """A client's slot of the open round was filled."""

    round_number: int
    client_id: str
    status: Status
    reason: str
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class RoundClosed:
    """A round is closed and on disk."""

    record: RoundRecord


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A client was asked in ``num_rounds`` rounds in a row and no update of it was accepted; reported once."""

    client_id: str
    num_rounds: int
    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The run has come to an end, good or bad."""

    summary: Summary
    folder: Path


Event = (
    RunStarted
    | Waiting
    | ClientJoined
    | ClientLeft
    | Initialised
    | RoundOpened
    | JoinedLive
    | SlotFilled
    | RoundClosed
    | LeftOut
    | Ended
)
Report = Callable[[Event], None]
