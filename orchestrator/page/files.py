"""What of a run's folder may be looked at and taken along: files by names that are listed here, never by paths."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.store.run_folder import RunFolder

TAIL_BYTES = 2**17
MAX_LINES = 400
PART_BYTES = 2**16
"""Bytes of a file that are sent at a time."""
_RECORDS = {
    "history.jsonl": "every closed round, a line each",
    "evaluations.jsonl": "how good each model is on held-out data",
    "events.jsonl": "all that was told while the run went on",
    "config.json": "the run's settings; orchestrator.start takes them as a study's file",
    "summary.json": "what became of the run",
    "plot.png": "each metric by round",
    "cross-site.json": "what clients found of each other's models",
    "energy.jsonl": "an estimate of the energy, a line a round",
    "audit.jsonl": "the audit trail",
}
"""Files at the top of the folder, and what they hold."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file that can be taken along: its name, what it holds, where it is, its bytes."""

    name: str
    about: str
    path: Path
    size_bytes: int

    def parts(self) -> Iterator[bytes]:
        """Yield its bytes, as many as it had when it was listed: a run that is on appends to its records."""
        left = self.size_bytes
        with self.path.open("rb") as file:
            while part := file.read(min(left, PART_BYTES)):
                left -= len(part)
                yield part


def downloads_of(folder: RunFolder, num_closed: int, best_round: int | None = None) -> dict[str, Download]:
    """Return the files of a run that can be taken along, by name: the last model, the best one, and the records."""
    models = {"the initial model": 0}
    models["the last model"] = num_closed
    if best_round is not None:
        models["the best model"] = best_round
    named = {folder.checkpoint(number): about for about, number in models.items()}
    named |= {folder.path / name: about for name, about in _RECORDS.items()}
    found = (Download(path.name, about, path, path.stat().st_size) for path, about in named.items() if _is_own(path))
    return {each.name: each for each in found}


def logs_of(folder: RunFolder) -> dict[str, Path]:
    """Return the logs of a run by name, the orchestrator's first."""
    if not folder.logs.is_dir():
        return {}
    found = {path.name: path for path in sorted(folder.logs.iterdir()) if _is_own(path)}
    return dict(sorted(found.items(), key=lambda item: not item[0].startswith("orchestrator.log")))


def tail_of(path: Path) -> list[str]:
    """Return the last lines of a log."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        if file.tell():
            file.readline()
        text = file.read(TAIL_BYTES).decode(errors="replace")
    return list(deque(text.splitlines(), maxlen=MAX_LINES))


def _is_own(path: Path) -> bool:
    """Say whether a file is one of the folder's, and no link to elsewhere."""
    return path.is_file() and not path.is_symlink()
