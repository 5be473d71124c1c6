"""What a client keeps from round to round: SCAFFOLD's control variate, FedDyn's gradient, what compression lost.

What a round made of it counts only once its update was accepted. So it is kept with the update's name until the next
order says which update was the last to be accepted; one that was rejected, lost or made twice leaves no trace.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path

from tasks import arrays, auxiliary
from tasks.auxiliary import Sets
from tasks.files import make_private, private, replacing, to_disk

logger = logging.getLogger(__name__)

MAX_RUNS = 16
"""Runs whose state is kept, as many as may be on at a time; an older one's is removed when a new run begins."""


class LocalState:
    """A client's state in one run.

    Args:
        folder: The client's own folder.
        run_id: The run.
        kind: Folder in it for what is kept; what is of another kind is nowhere near it.
    """

    def __init__(self, folder: Path, run_id: str, kind: str = "runs") -> None:
        self._runs = folder / kind
        self._folder = self._runs / run_id
        self._missing = self._found = ""
        self.began_anew = False
        """Whether what should have been kept with the last accepted update wasn't there, and was made anew."""

    def load(self, accepted: str) -> Sets:
        """Return what the client kept with its last accepted update; empty if there is none.

        Args:
            accepted: The update that was accepted last (``tasks.names.update_name``); empty if none was.
        """
        if not accepted:
            return {}
        path = self._path(accepted)
        if not path.exists():
            self._missing = accepted  # which is as it should be, if there is nothing to keep of this kind
            return {}
        self._found = accepted
        return auxiliary.split(arrays.map_file(path))[1]

    def save(self, update: str, state: Sets) -> None:
        """Keep what belongs to an update, beside what belongs to the last that was accepted."""
        if not state:
            return
        if self._missing:
            self.began_anew = True
            logger.warning("what this client kept with its update %s is gone: it began anew", self._missing)
        if not self._folder.exists():
            make_private(self._folder)
            _remove_oldest(self._runs)
        self._write(self._path(update), auxiliary.join({}, state))

    def _path(self, update: str) -> Path:
        return self._folder / f"{_PREFIX}{update}.safetensors"

    def _write(self, path: Path, kept: arrays.Arrays) -> None:
        """Write a file over one that is of no use any more, and as long: it has its place on the disk already.

        One of another length isn't written over: who still reads it would be killed when it is cut.
        """
        older, size_bytes = self._older(), arrays.encoded_size(arrays.spec_of(kept))
        with replacing(path, durable=False) as temporary:
            with suppress(IndexError, FileNotFoundError):  # none is left, or another process was faster
                if older[-1].stat().st_size == size_bytes:
                    older.pop().replace(temporary)
            with open(temporary, "r+b" if temporary.exists() else "wb", opener=private) as file:
                file.writelines(arrays.encode(kept))
                to_disk(file)
        for each in older:
            each.unlink(missing_ok=True)

    def _older(self) -> list[Path]:
        """Return the files of updates of rounds before the last accepted one's: no order will ask for them any more.

        Only training knows: a round whose model was evaluated may still be lost before it is closed.
        """
        if not self._found:
            return []
        accepted_round = _round_of(self._found)
        found = self._folder.glob(f"{_PREFIX}*.safetensors")
        return [path for path in found if _round_of(path.name.removeprefix(_PREFIX)) < accepted_round]


_PREFIX = "after-round-"


def _round_of(update: str) -> int:
    return int(update.partition("-")[0])


def _remove_oldest(folder: Path) -> None:
    newest_first = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[MAX_RUNS:]:
        shutil.rmtree(path, ignore_errors=True)
