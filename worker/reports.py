"""What pool processes tell their worker's main process while they load: a pipe each.

The main process has nothing of a user's. So it learns from those that do what to announce, or why there is nothing.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait

from celery.worker import state

from tasks.announcement import Announcement
from tasks.errors import FederationError
from tasks.user_code import UserCodeError
from tasks.workload import StartMethod

_LOOK_S = 0.1
"""Seconds between two looks whether a process that loads still runs."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a pool process has loaded.

    Attributes:
        announcements: What to announce of those clients that were its share.
        own_kinds: Names of the kinds of orders of the user's own.
        start_method: What the workload wants; if it isn't ``spawn``, nothing else has been loaded.
    """

    announcements: Sequence[Announcement] = ()
    own_kinds: Sequence[str] = ()
    start_method: StartMethod = "spawn"


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a pool process couldn't load, and with which code its worker is to end; its log has the traceback."""

    reason: str
    exit_code: int


class LoadingFailedError(FederationError):
    """Raised when a pool process has said that it couldn't load what it has to; its log has why."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.reason)
        self.exit_code = failed.exit_code


@dataclass(slots=True)
class _Pipe:
    """A pool process's pipe, and what came by it last."""

    reader: Connection
    writer: Connection
    said: str | Loaded = "starting"


@dataclass(slots=True)
class Reports:
    """The pipes of a pool that starts; when all of its processes have loaded, there is none any more."""

    pipes: list[_Pipe] = field(default_factory=list)

    def open(self, num_processes: int) -> None:
        """Make a pipe for each process, before these are made."""
        self.pipes = [_Pipe(*multiprocessing.Pipe(duplex=False)) for _ in range(num_processes)]

    def send(self, index: int, report: str | Loaded | Failed) -> None:
        """Say what this process, the pool's ``index``-th, is about to do, or has done."""
        if self.pipes:
            self.pipes[index].writer.send(report)

    def collect(self, exit_code: Callable[[int], int | None]) -> list[Loaded]:
        """Wait until all processes have loaded, and return what.

        Args:
            exit_code: Says how the pool's process of an index has ended; None if it runs.

        Raises:
            LoadingFailedError: If one couldn't.
            UserCodeError: If one has ended.
        """
        while waiting := [index for index, pipe in enumerate(self.pipes) if not isinstance(pipe.said, Loaded)]:
            state.maybe_shutdown()
            ended = {index: code for index in waiting if (code := exit_code(index)) is not None}
            ready = wait([self.pipes[index].reader for index in waiting], timeout=0 if ended else _LOOK_S)
            for index in waiting:
                if self.pipes[index].reader in ready:
                    self._receive(self.pipes[index])
                elif index in ended:
                    raise UserCodeError(f"{self.pipes[index].said}: its process {_how(ended[index])}")
        return [pipe.said for pipe in self.pipes if isinstance(pipe.said, Loaded)]

    def close(self) -> None:
        """Have processes that are made later report nothing."""
        for pipe in self.pipes:
            pipe.reader.close()
            pipe.writer.close()
        self.pipes = []

    def _receive(self, pipe: _Pipe) -> None:
        report = pipe.reader.recv()
        if isinstance(report, Failed):
            raise LoadingFailedError(report)
        pipe.said = report


def _how(exit_code: int) -> str:
    """Say how a process has ended."""
    if exit_code == -signal.SIGKILL:
        return "was killed (SIGKILL), as the system does where memory runs out"
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with code {exit_code}"
