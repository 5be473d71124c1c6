"""The runs in a folder: what they are called, how they are, and the few of them that somebody looks at."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config import RunConfig
from orchestrator.page.follow import READ_S, FollowedRun, status_of, tail_of
from orchestrator.page.state import RunState
from orchestrator.store.run_folder import RunFolder
from tasks.errors import FederationError
from tasks.readable import readable

MAX_FOLLOWED = 16
"""Runs whose state is kept in memory; of another one the events are read again."""
_Stamp = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in the list.

    Attributes:
        name: Its folder's name, as it is shown.
        status: ``running``, or how it ended; ``damaged`` if its config can't be read, ``unread`` if it wasn't yet.
        config: Its config; None if it is damaged or unread.
        state: What its last events add up to.
        problem: Why it is damaged or unread.
    """

    name: str
    status: str
    config: RunConfig | None
    state: RunState
    problem: str = ""


class Shelf:
    """Finds runs by name; a name is one of those that the folder lists, never a path. One look at a time is taken.

    Args:
        folder: The folder of runs, or that of one run.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._followed: OrderedDict[str, FollowedRun] = OrderedDict()
        self._lines: dict[str, tuple[_Stamp, RunLine]] = {}

    def names(self) -> list[str]:
        """Return the names of all runs, the newest first."""
        return sorted(self._paths(), reverse=True)

    def run(self, name: str) -> FollowedRun | None:
        """Return a run, to follow it; None if there is none of this name."""
        path = self._paths().get(name)
        if path is None:
            return None
        run = self._followed.pop(name, None) or FollowedRun(RunFolder(path))
        self._followed[name] = run
        while len(self._followed) > MAX_FOLLOWED:
            self._followed.popitem(last=False)
        return run

    def lines(self) -> list[RunLine]:
        """Return a line a run, the newest first; what hasn't changed since the last look isn't read again.

        It takes ``READ_S`` at the most: of more runs than are read by then, the rest is at the next look.
        """
        paths = self._paths()
        self._lines = {name: self._lines[name] for name in paths if name in self._lines}
        deadline = self._clock() + READ_S
        return [self._line(name, paths[name], deadline) for name in sorted(paths, reverse=True)]

    def _line(self, name: str, path: Path, deadline: float) -> RunLine:
        stamp = _stamp(path)
        known, line = self._lines.get(name, ((), RunLine(name, "unread", None, RunState(), "It is read in a moment.")))
        if (known != stamp or line.status == "running") and self._clock() < deadline:
            line = _read_line(name, RunFolder(path))
            self._lines[name] = stamp, line
        return line

    def _paths(self) -> dict[str, Path]:
        if (self._folder / "config.json").is_file():
            return {_shown(self._folder.resolve().name): self._folder}
        return {_shown(found.parent.name): found.parent for found in self._folder.glob("*/config.json")}


def _shown(name: str) -> str:
    r"""Return a folder's name as it can be shown and asked for: bytes that are no UTF-8 are written like ``ÿ``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _read_line(name: str, folder: RunFolder) -> RunLine:
    try:
        config = folder.config()
        state = tail_of(folder, config.rounds)
        return RunLine(name, status_of(folder, state), config, state)
    except (FederationError, OSError) as error:
        return RunLine(name, "damaged", None, RunState(), str(readable(str(error))))


def _stamp(path: Path) -> _Stamp:
    """Return what is another after anything was written that a line goes by."""
    found = []
    for name in ("config.json", "events.jsonl", "summary.json"):
        try:
            status = (path / name).stat()
        except OSError:
            continue
        found += [status.st_mtime_ns, status.st_size]
    return tuple(found)
