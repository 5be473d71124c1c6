"""A workload that is tried: what its methods are called with, in this process and within a time."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from tasks.arrays import Array, Arrays, decode, encode
from tasks.context import Context, State, TimeBudget
from tasks.digests import Digest
from tasks.messages import TrainOptions
from tasks.run_config import RunSettings, with_defaults
from tasks.user_code import UserCodeError, user_code
from tasks.workload import Workload, load_workload

P = ParamSpec("P")
T = TypeVar("T")

SEED = 1
NUM_CLIENTS = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What will fail: the method, what it did, what is allowed."""

    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """What was seen of a method, and is no fault."""

    method: str
    text: str


Said = Finding | Note
"""What is told of a workload."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How a workload is tried.

    Attributes:
        spec: The workload's spec, ``NAME[,KEY=VALUE...]``.
        folder: The folder with its data, if it was given one.
        run_config: The study's own settings.
        timeout_s: Seconds that a call of a method may take.
    """

    spec: str
    folder: Path | None = None
    run_config: RunSettings = field(default_factory=dict)
    timeout_s: float = 60.0

    def workload(self) -> Workload:
        """Return the workload, made anew: as each client has one of its own, and the orchestrator another."""
        return load_workload(self.spec)

    def context(
        self,
        workload: Workload,
        client_id: str = "",
        *,
        seed: int = SEED,
        round_number: int = 1,
        budget: TimeBudget | None = None,
        state: State | None = None,
    ) -> Context:
        """Return what a method is told: of one epoch, in a round of a run of two."""
        return Context(
            client_id=client_id,
            round_number=round_number,
            num_rounds=2,
            cohort_size=NUM_CLIENTS if client_id else 0,
            options=TrainOptions(epochs=1),
            run_config=with_defaults(workload.run_config, self.run_config),
            seed=seed,
            budget=budget or TimeBudget(),
            load_holdout=lambda: None if client_id else workload.holdout_data(self.folder),
            load_state=lambda: state if state is not None else {},
        )

    def call(self, what: str, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the workload.

        Raises:
            UserCodeError: If it raises something, or doesn't end in time; ``what`` begins the message.
        """
        with user_code(what), _limit(what, self.timeout_s):
            return method(*args, **kwargs)


class AskedBudget(TimeBudget):
    """A time that is over when it has been asked for so often: so a short training is the same on all machines.

    Args:
        num_asks: The question that is the first to be told that the time is over.
    """

    def __init__(self, num_asks: int) -> None:
        self._count = itertools.count()
        self._most = num_asks
        self.num_asked = 0
        self.is_asked_for_left = False
        super().__init__(num_asks, clock=self._ask)

    def _ask(self) -> float:
        self.num_asked = next(self._count)
        return self.num_asked

    @property
    def left_s(self) -> float:
        """A minute: what asks for the seconds that are left needn't ask before each step."""
        self.is_asked_for_left = True
        return 60.0

    @property
    def num_asked_later(self) -> int:
        """How often it was asked after it had said that the time is over."""
        return max(0, self.num_asked - self._most)


def handed_over(arrays: Arrays) -> dict[str, Array]:
    """Return arrays as a method is given them in a run: read-only, in memory of their own."""
    return decode(memoryview(bytearray().join(encode(arrays))).toreadonly())


def digest_of(arrays: Arrays) -> str:
    """Return a digest of arrays; equal bits have equal ones."""
    digest = Digest()
    for piece in encode(arrays):
        digest.update(piece)
    return str(digest.hexdigest())


@contextmanager
def _limit(what: str, timeout_s: float) -> Iterator[None]:
    """End what takes longer than a time; what a library does outside Python is ended when it is back."""

    def end(*_: object) -> None:
        hint = ": ask context.budget.is_over()" if what.startswith("train") else ""
        raise UserCodeError(f"{what} didn't end within {timeout_s:g} s (--timeout){hint}")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
