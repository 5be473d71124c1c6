"""What is compared: a contender carries out rounds of a case and says what each of them took."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

MIN_FREE_BYTES = 2 * 10**9
"""With less memory left than this a contender is ended, before the kernel picks something to kill."""


@dataclass(frozen=True, order=True, slots=True)
class Case:
    """What contenders carry out.

    Attributes:
        num_clients: How many there are.
        megabytes: Millions of bytes of parameters.
        busy: Endless loops that run beside it, a process each.
        trains: What is trained; empty: next to nothing.
    """

    num_clients: int
    megabytes: float
    busy: int = 0
    trains: str = ""

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read ``8x40``: eight clients, 40 MB.

        Raises:
            ValueError: If ``text`` isn't of this form.
        """
        clients, _, megabytes = text.partition("x")
        case = cls(int(clients), float(megabytes))
        if case.num_clients < 1 or not 0.000032 <= case.megabytes < 1e6:
            raise ValueError(text)
        return case

    def __str__(self) -> str:
        """Return what ``--case``, and ``--busy``, name it by."""
        size = self.trains or f"{self.num_clients}x{self.megabytes:g}"
        return f"{size} --busy {self.busy}" if self.busy else size

    @property
    def title(self) -> str:
        """Say what it is."""
        trains = f" that train {self.trains}" if self.trains else ""
        beside = f", beside {self.busy} busy loops" if self.busy else ""
        return f"{self.num_clients:,} clients{trains}, {self.megabytes:g} MB{beside}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a contender's rounds. Memory is in MB (millions of bytes).

    Attributes:
        rounds_s: Seconds of each complete round, the first included.
        peak_mb: Role -> the most anonymous and shared memory of all its processes together while the rounds were on;
            ``server`` and ``all`` are several roles at one instant.
        idle_mb: The same before the first round, when all clients were there; empty if they were not.
        cpu_ms: Role -> milliseconds of processor time that a round took, on average over all but the first.
        commands: Commands of the broker in a round, likewise.
        broker_in_mb: What the broker was sent in a round, on average; None where there is none.
        broker_out_mb: What it sent.
        error: Why the rounds did not complete; empty if they did.
    """

    rounds_s: list[float] = field(default_factory=list)
    peak_mb: dict[str, float] = field(default_factory=dict)
    idle_mb: dict[str, float] = field(default_factory=dict)
    cpu_ms: dict[str, float] = field(default_factory=dict)
    commands: float | None = None
    broker_in_mb: float | None = None
    broker_out_mb: float | None = None
    error: str = ""

    def above_idle_mb(self, role: str) -> float | None:
        """Return by how much a role's peak was above idle, or None where that is unknown."""
        if role not in self.peak_mb or role not in self.idle_mb:
            return None
        return round(self.peak_mb[role] - self.idle_mb[role], 3)

    def median_s(self) -> float | None:
        """Return the median of all rounds but the first, or None if there are none."""
        return statistics.median(self.rounds_s[1:]) if self.rounds_s[1:] else None


class DidNotCompleteError(Exception):
    """Raised when a contender's rounds are given up, or went wrong."""


class Limit:
    """How long a contender may take, and that it must leave some memory."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise if the time is over or memory is short.

        Raises:
            DidNotCompleteError: If so.
        """
        if time.monotonic() > self._end:
            raise DidNotCompleteError(f"not within {self._seconds:g} s")
        if psutil.virtual_memory().available < MIN_FREE_BYTES:
            raise DidNotCompleteError(f"out of memory: less than {MIN_FREE_BYTES / 1e6:g} MB were left")


class Contender(Protocol):
    """A way to carry out rounds."""

    def run(self, case: Case, num_rounds: int, folder: Path, limit: Limit) -> Outcome:
        """Carry out ``num_rounds`` complete rounds of ``case`` and end all that was started for it.

        Args:
            case: Clients and size of the model.
            num_rounds: Complete rounds, the first included.
            folder: An empty folder for logs and whatever else it writes.
            limit: To be checked while it waits.

        Raises:
            DidNotCompleteError: If it doesn't complete, or its model is wrong.
        """
        ...
