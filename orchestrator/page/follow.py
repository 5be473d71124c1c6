"""Following a run: its events are read on from where they were read to, whenever somebody looks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from orchestrator.observers.events import Event, SlotsFilled
from orchestrator.page.round_view import RoundView, view_of
from orchestrator.page.state import RunState
from orchestrator.store.run_folder import RunFolder
from tasks.errors import RunFolderError

READ_S = 1.5
"""Seconds that one look reads for, at the most; of a long run it sees the rest at the next."""
BEGINNING_BYTES = 2**12
"""Bytes of the first event by which a run is told from another one that has taken its place."""
MAX_ROUND_BYTES = 2**24
"""Bytes of events that a round is looked for in, from its opening on."""
TAIL_BYTES = 2**19
"""Bytes of events by which the list of runs says how far a run is."""
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class FollowedRun:
    """A run and what its events add up to; whoever looks does so while nobody else does.

    Args:
        folder: The run's folder; nothing is written there.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, folder: RunFolder, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.state = RunState()
        self._clock = clock
        self._offset = 0
        self._size = 0
        self._beginning = b""

    @property
    def share_read(self) -> float:
        """How much of the events is read, from 0 to 1; a line that isn't whole doesn't count."""
        return self._offset / self._size if self._size else 1.0

    def refresh(self, limit_s: float = READ_S) -> None:
        """Read what is new, for so many seconds at the most."""
        with suppress(FileNotFoundError), self.folder.events.open("rb") as file:
            self._size = os.fstat(file.fileno()).st_size
            beginning = file.readline(BEGINNING_BYTES)
            if beginning != self._beginning:  # another run has taken the place of this one
                self._offset, self.state, self._beginning = 0, RunState(), beginning
            file.seek(self._offset)
            deadline = self._clock() + limit_s
            for offset, event in _events(file):
                self.state.take(event, offset)
                if self._clock() > deadline:
                    break
            else:
                self._size = file.tell()
            self._offset = file.tell()

    def round(self, number: int) -> RoundView | None:
        """Return a round; None if the run has had none of this number."""
        offset = self.state.offsets.get(number)
        if offset is None:
            return None
        with self.folder.events.open("rb") as file:
            file.seek(offset)
            return view_of(number, _near(file, number, offset + MAX_ROUND_BYTES))


def status_of(folder: RunFolder, state: RunState) -> str:
    """Return how a run is: ``running``, or how it ended."""
    if state.summary is not None:
        return state.summary.status
    if folder.is_at_work():
        return "running"
    try:
        summary = folder.summary()
    except RunFolderError:
        summary = None
    return summary.status if summary is not None and state.started is None else "killed"


def tail_of(folder: RunFolder, num_rounds: int) -> RunState:
    """Return what the last events of a run, which has so many rounds, add up to."""
    state = RunState(num_rounds)
    with suppress(FileNotFoundError), folder.events.open("rb") as file:
        for _, event in _events(_at_end(file, folder.events)):
            state.take(event)
            if isinstance(event, SlotsFilled) and not state.rounds:  # the round before was closed too long ago
                state.num_closed = event.round_number - 1
    return state


def _at_end(file: BinaryIO, path: Path) -> BinaryIO:
    file.seek(max(0, path.stat().st_size - TAIL_BYTES))
    if file.tell():
        file.readline()
    return file


def _events(file: BinaryIO) -> Iterator[tuple[int, Event]]:
    """Yield events and their places; lines that are none, as those of another version, are passed over."""
    offset = file.tell()
    for line in iter(file.readline, b""):
        if not line.endswith(b"\n"):
            file.seek(offset)
            return
        with suppress(ValidationError):
            yield offset, _EVENT.validate_json(line)
        offset += len(line)


def _near(file: BinaryIO, number: int, end: int) -> Iterator[Event]:
    """Yield events up to the opening of the next round but one: evaluating a model may take until there."""
    for offset, event in _events(file):
        if offset > end or (event.kind == "round_opened" and event.round_number not in (number, number + 1)):
            return
        yield event
