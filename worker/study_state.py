"""What a study's own code keeps at a client from round to round: ``context.state``.

As with all that a client keeps, what a round made of it counts only once its update was accepted.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

from tasks.context import Context, State
from tasks.messages import StudyOrder
from tasks.user_code import checked_state
from worker.local_state import LocalState

logger = logging.getLogger(__name__)

KIND = "state"
"""Folder of it."""
_ARRAYS, _VALUES = "arrays", "values"
"""Sets of a file: the arrays, and all else as one array of the bytes of its JSON."""


class StudyState:
    """What the study keeps at a client, as one order finds it and leaves it.

    Args:
        folder: The client's own folder.
        order: The order.
    """

    def __init__(self, folder: Path, order: StudyOrder) -> None:
        self._kept = LocalState(folder, order.run_id, KIND)
        self._accepted = order.accepted

    def load(self) -> State:
        """Return what was kept with the last update that was accepted, in memory of its own; empty if nothing was."""
        sets = self._kept.load(self._accepted)
        values = json.loads(sets[_VALUES]["json"].tobytes()) if sets else {}
        return {**values, **{name: array.copy() for name, array in sets.get(_ARRAYS, {}).items()}}

    def save(self, update_name: str, context: Context) -> None:
        """Keep what training left in its context's state, should its update be accepted; all of it if it never looked.

        Raises:
            UserCodeError: If something in it is neither an array nor anything that JSON can hold.
        """
        if not context.has_used_state:
            self._kept.save(update_name, self._kept.load(self._accepted))
            return
        arrays, text = checked_state(context.state)
        json_bytes = np.frombuffer(text.encode(), np.uint8)
        self._kept.save(update_name, {_ARRAYS: arrays, _VALUES: {"json": json_bytes}})

    @property
    def began_anew(self) -> bool:
        """Whether nothing was found of what the last accepted update had left; known when this one's is kept."""
        return self._kept.began_anew
