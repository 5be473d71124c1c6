"""What a client keeps of an algorithm from round to round: SCAFFOLD's control variate, FedDyn's gradient.

What a round made of it counts only once its update was accepted. So it is kept as pending until the next order says
which round's update was the last to be; a round that was rejected, lost or trained again leaves no trace.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from tasks import arrays, sets
from tasks.sets import Sets

logger = logging.getLogger(__name__)

MAX_RUNS = 4
"""Runs whose state is kept; an older one's is removed when a new run begins."""


class LocalState:
    """A client's state in one run.

    Args:
        folder: The client's own folder.
        run_id: The run.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self._runs = folder / "runs"
        self._folder = self._runs / run_id

    def load(self, accepted_round: int) -> Sets:
        """Return the state after the last accepted round; empty if there is none.

        Args:
            accepted_round: The last round whose update of this client was accepted; 0 if none was.
        """
        if accepted_round == 0:
            return {}
        path = self._path(accepted_round)
        if not path.exists():
            if self._folder.exists():
                logger.warning("what this client kept after round %d is gone: it begins anew", accepted_round)
            return {}
        for other in self._folder.iterdir():
            if other != path:
                other.unlink(missing_ok=True)
        return sets.split(arrays.map_file(path))[1]

    def save(self, round_number: int, state: Sets) -> None:
        """Keep a round's state beside that of the last accepted one."""
        if not state:
            return
        if not self._folder.exists():
            self._folder.mkdir(parents=True)
            _remove_oldest(self._runs)
        arrays.write_file(self._path(round_number), sets.join({}, state))

    def _path(self, round_number: int) -> Path:
        return self._folder / f"after-round-{round_number:04d}.safetensors"


def _remove_oldest(folder: Path) -> None:
    newest_first = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[MAX_RUNS:]:
        shutil.rmtree(path, ignore_errors=True)
