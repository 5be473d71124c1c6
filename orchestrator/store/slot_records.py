"""The records of a round's slots: a line each in one file, added by whoever takes updates in.

The last line of a client counts. Whoever adds lines writes them at once, under a lock; a line that was cut short, as
its process was killed, goes. After a loss of power the file may be shorter: what is missing is taken in again.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ValidationError

from orchestrator.store.records import SlotRecord
from tasks.files import drop_torn_line, make_private, private


class _Line(BaseModel):
    client_id: str
    record: SlotRecord | None
    """None: the slot is open again."""


class SlotRecords:
    """The records of one of a round's exchanges, as others add to them.

    Args:
        path: The file; it needn't be there yet. When it is removed, that is the end of this object's use.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: dict[str, SlotRecord] = {}
        self._read_bytes = 0
        self._reading = threading.Lock()

    def get(self, client_id: str) -> SlotRecord | None:
        """Return the record of a client's slot; None if it isn't filled."""
        try:
            # A file system of several machines says what others have written when a file is opened.
            with self._path.open("rb") as file:
                self._read_on(file)
        except FileNotFoundError:
            pass
        return self._records.get(client_id)

    def add(self, records: Mapping[str, SlotRecord]) -> dict[str, SlotRecord]:
        """Note the records of those clients' slots that have none, and return all that count then."""
        if not records:
            return {}
        with self._appending() as file:
            self._read_on(file)
            new = {client_id: record for client_id, record in records.items() if client_id not in self._records}
            _append(file, new)
            self._read_on(file)
        return {client_id: self._records[client_id] for client_id in records}

    def reopen(self, client_ids: Iterable[str]) -> None:
        """Note that the slots of these clients are open again."""
        if again := dict.fromkeys(client_ids):
            with self._appending() as file:
                _append(file, again)

    @contextmanager
    def _appending(self) -> Iterator[BinaryIO]:
        """Open the file to read and to append, for nobody else meanwhile."""
        make_private(self._path.parent)
        with open(self._path, "ab+", opener=private) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            drop_torn_line(file)
            yield file

    def _read_on(self, file: BinaryIO) -> None:
        """Read the lines that have been added since this was called last."""
        with self._reading:
            if os.fstat(file.fileno()).st_size <= self._read_bytes:
                return
            file.seek(self._read_bytes)
            whole, newline, _ = file.read().rpartition(b"\n")
            self._read_bytes += len(whole) + len(newline)
            for text in whole.splitlines():
                self._note(text)

    def _note(self, text: bytes) -> None:
        try:
            line = _Line.model_validate_json(text)
        except ValidationError:  # what a loss of power has made of it
            return
        if line.record is None:
            self._records.pop(line.client_id, None)
        else:
            self._records[line.client_id] = line.record


def _append(file: BinaryIO, records: Mapping[str, SlotRecord | None]) -> None:
    lines = [_Line(client_id=client_id, record=record) for client_id, record in records.items()]
    file.write("".join(f"{line.model_dump_json()}\n" for line in lines).encode())
    file.flush()
