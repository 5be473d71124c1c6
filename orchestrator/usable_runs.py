"""Which runs an own worker can work for, where it is for none alone: it has their folders, and can use their stores.

To a run that it can't work for it would do harm: each task that it took would fail, and be done again by others.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from redis import Redis

from orchestrator.store.run_folder import RunFolder
from tasks.blobs.stores import check_named
from tasks.errors import FederationError
from tasks.files import is_file
from tasks.scope import RunScope

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 60.0
"""Seconds after which a store that couldn't be used is looked at again: somebody may have mounted or started it."""


class UsableRuns:
    """Says of runs whether this worker can work for them, and logs why not.

    Args:
        client: A client for the broker.
        clock: Seconds that only go up.
    """

    def __init__(self, client: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._stores: dict[str, tuple[str, float]] = {}
        """Run -> what is wrong with its store, and when that is to be looked at again."""
        self._told: set[tuple[str, str]] = set()

    def __contains__(self, run_id: str) -> bool:
        """Say whether the worker can work for a run that is on.

        Raises:
            RedisError: If the broker doesn't say where its folder is.
        """
        problem = self._problem(run_id)
        if problem and (run_id, problem) not in self._told:
            self._told.add((run_id, problem))
            logger.warning("run %s: %s: its tasks are left to others", run_id, problem)
        return not problem

    def _problem(self, run_id: str) -> str:
        found: bytes | None = self._client.get(RunScope(run_id).folder_key)  # type: ignore[assignment]  # no decoding
        if found is None:
            return ""  # said by no orchestrator of a former version
        folder = RunFolder(Path(os.fsdecode(found)))
        if not is_file(folder.config_path):
            return f"its folder {found!r} isn't on this machine"
        problem, look_at = self._stores.get(run_id, ("", -math.inf))
        if self._clock() >= look_at:
            problem = _problem_of_store(folder)
            self._stores[run_id] = problem, self._clock() + LOOK_AGAIN_S if problem else math.inf
        return problem


def _problem_of_store(folder: RunFolder) -> str:
    """Return why a run's store of blobs can't be used here; empty if it can, or is at the broker."""
    try:
        if url := folder.config().blobs:
            check_named(url)
    except FederationError as error:
        return str(error)
    return ""
