"""``events.jsonl`` in the run's folder: every event, a line each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter

from orchestrator.observers import ObserverContext
from orchestrator.observers.events import Event
from orchestrator.store.run_folder import RunFolder
from tasks.files import private

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class EventsFile:
    """Appends events to the file, whole lines or nothing; a run that is taken up again goes on with it."""

    def __init__(self, context: ObserverContext) -> None:
        path = RunFolder(context.folder).events
        self._file = FileIO(path, "ab", opener=private)
        self._length = _whole_lines(path)
        self._cut()

    def observe(self, event: Event) -> None:
        """Append an event."""
        line = f"{event.model_dump_json()}\n".encode()
        try:
            if self._file.write(line) != len(line):
                raise OSError(f"{self._file.name}: the disk is full")
        except OSError:
            self._cut()
            raise
        self._length += len(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _cut(self) -> None:
        """Remove what there is of a line that wasn't written whole."""
        if os.fstat(self._file.fileno()).st_size > self._length:
            self._file.truncate(self._length)


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of a file; a last line that was cut short is not one.

    Raises:
        ValidationError: If another line is none.
    """
    with path.open("rb") as file:
        yield from new_events(file)


def new_events(file: BinaryIO) -> Iterator[Event]:
    """Yield the events from where a file stands on; afterwards it stands before a line that isn't whole yet.

    Raises:
        ValidationError: If another line is none.
    """
    while (line := file.readline()).endswith(b"\n"):
        yield _EVENT.validate_json(line)
    file.seek(-len(line), os.SEEK_CUR)


def _whole_lines(path: Path) -> int:
    """Return how many bytes of a file are whole lines."""
    with path.open("rb") as file:
        return file.read(path.stat().st_size).rfind(b"\n") + 1
