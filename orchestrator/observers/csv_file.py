"""``rounds.csv`` in the run's folder: a row a round, for a spreadsheet."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable

from orchestrator.observers import ObserverContext
from orchestrator.observers.events import Event, Initialised, ModelEvaluated, RoundClosed, RunEnded, RunStarted, told_of
from orchestrator.observers.tracked import measured
from orchestrator.store.run_folder import RunFolder
from tasks.files import replacing

WRITE_EVERY_S = 10.0
"""Seconds from one time that the file is written to the next: as new metrics are new columns, it is written whole."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet would calculate."""


class CsvFile:
    """Writes the file while the run goes on, and when it ends; a run that is taken up again has all of its rounds."""

    def __init__(self, context: ObserverContext, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = RunFolder(context.folder)
        self._clock = clock
        self._rows: dict[int, dict[str, str | float]] = {}
        self._next_write = clock()

    def observe(self, event: Event) -> None:
        """Add what an event says of its round, and write the file if it is time to."""
        if isinstance(event, RunStarted) and event.rounds_closed:
            self._add_closed()
        self._add(event)
        if isinstance(event, RunEnded) or (isinstance(event, RoundClosed) and self._clock() >= self._next_write):
            self._next_write = self._clock() + WRITE_EVERY_S
            self._write()

    def close(self) -> None:
        """Nothing is kept."""

    def _add_closed(self) -> None:
        """Add the rounds that were closed by a former start of the orchestrator."""
        self._add(Initialised(metrics=self._folder.initial().metrics))
        for record in self._folder.history():
            for event in told_of(record):
                self._add(event)
            self._add(ModelEvaluated(round_number=record.round_number, metrics=record.metrics))

    def _add(self, event: Event) -> None:
        number, numbers = measured(event)
        if numbers:
            self._row(number).update(numbers)
        if isinstance(event, RoundClosed):
            self._row(number).update({"status": event.status, "reason": _as_text(event.reason)})

    def _row(self, number: int) -> dict[str, str | float]:
        return self._rows.setdefault(number, {"round": number})

    def _write(self) -> None:
        rows = [row for _, row in sorted(self._rows.items())]
        columns = dict.fromkeys(("round", "status", "reason", *(name for row in rows for name in row)))
        path = self._folder.path / "rounds.csv"
        with replacing(path, durable=False) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(rows)


def _as_text(reason: str) -> str:
    """Return a reason that no spreadsheet takes for a formula: part of it may be a client's.

    In half of Europe a semicolon ends a cell, and what comes after it would begin one.
    """
    text = reason.replace(";", ",")
    return f"'{text}" if text.startswith(_FORMULA) else text
