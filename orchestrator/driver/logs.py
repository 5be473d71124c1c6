"""The orchestrator's log: a file in the run's folder, and standard error where that is no terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from orchestrator.config import RunConfig
from orchestrator.observers.events import Event, RoundClosed, RoundOpened
from orchestrator.store.run_folder import RunFolder
from tasks.logs import PrivateLog, json_formatter, make_readable

MAX_BYTES = 20_000_000
"""Length of the file at which it becomes ``orchestrator.log.1``, and that ``orchestrator.log.2``, and so on."""
NUM_FORMER = 4
"""Former files that are kept."""


@contextmanager
def logging_run(config: RunConfig, folder: RunFolder, console: Console) -> Iterator[Callable[[Event], None]]:
    """Log for as long as the block lasts; what this gives is to be told the run's events, to know the open round."""
    path = folder.logs / "orchestrator.log"
    file = PrivateLog(path, "a", MAX_BYTES, NUM_FORMER, encoding="utf-8", errors="backslashreplace")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handlers: list[logging.Handler] = [file]
    if not console.is_terminal:
        stream = logging.StreamHandler(sys.stderr)
        stream.setLevel(logging.INFO)
        stream.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(stream)
    fields = _Fields(config.run_id)
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    logging.getLogger("orchestrator").setLevel(logging.DEBUG)
    for handler in handlers:
        handler.addFilter(make_readable)
        handler.addFilter(fields.add)
        if config.log_format == "json":
            handler.setFormatter(json_formatter())
        root.addHandler(handler)
    try:
        yield fields.note
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


class _Fields:
    """The run and the open round, for the lines that don't say another themselves."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._round_number: int | None = None

    def note(self, event: Event) -> None:
        """Note which round is open."""
        if isinstance(event, RoundOpened):
            self._round_number = event.round_number
        elif isinstance(event, RoundClosed):
            self._round_number = None

    def add(self, record: logging.LogRecord) -> bool:
        """Add them to a record; a filter that lets everything pass."""
        record.run_id = self._run_id
        if self._round_number is not None and not hasattr(record, "round_number"):
            record.round_number = self._round_number
        return True
