"""Which runs an own worker can work for, where it is for none alone: it can use their stores, maybe has their folders.

To a run that it can't work for it would do harm: each task that it took would fail, and be done again by others.
"""

from __future__ import annotations

import enum
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


class Reach(enum.Enum):
    """What an own worker reaches of a run."""

    NOTHING = enum.auto()
    STORE = enum.auto()
    """Its models and updates, from anywhere."""
    FOLDER = enum.auto()
    """Its folder, too."""

    def queues(self, run_id: str) -> frozenset[str]:
        """Return the queues of the run that the worker takes tasks from."""
        scope = RunScope(run_id)
        of_store = {scope.anywhere_queue} if self is not Reach.NOTHING else set[str]()
        return frozenset(of_store | {scope.queue} if self is Reach.FOLDER else of_store)


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
        self._said: dict[str, list[bytes | None]] = {}
        """Run -> where its folder and its store are, as was last said."""
        self._told: set[tuple[str, str]] = set()

    def reach(self, run_id: str) -> Reach:
        """Say what the worker reaches of a run that is on.

        Raises:
            RedisError: If the broker doesn't say where its folder is.
        """
        scope = RunScope(run_id)
        values: list[bytes | None] = self._client.mget(scope.folder_key, scope.store_key)  # type: ignore[assignment]
        if values[0] is None:  # a broker that was emptied has forgotten it
            values = self._said.get(run_id, values)
        self._said[run_id] = values
        found, store = values
        if found is None:
            return Reach.FOLDER  # said by no orchestrator of a former version
        folder = RunFolder(Path(os.fsdecode(found)))
        has_folder = is_file(folder.config_path)
        if not has_folder and store is None:
            problem = f"its folder {found!r} isn't on this machine"
        else:
            problem = self._problem_of_store(run_id, folder if has_folder else None, store)
        if not problem:
            return Reach.FOLDER if has_folder else Reach.STORE
        if (run_id, problem) not in self._told:
            self._told.add((run_id, problem))
            logger.warning("run %s: %s: its tasks are left to others", run_id, problem)
        return Reach.NOTHING

    def _problem_of_store(self, run_id: str, folder: RunFolder | None, store: bytes | None) -> str:
        problem, look_at = self._stores.get(run_id, ("", -math.inf))
        if self._clock() >= look_at:
            problem = _problem_of_store(folder, store)
            self._stores[run_id] = problem, self._clock() + LOOK_AGAIN_S if problem else math.inf
        return problem


def _problem_of_store(folder: RunFolder | None, store: bytes | None) -> str:
    """Return why a run's store of blobs can't be used here; empty if it can, or is at the broker."""
    try:
        if url := folder.config().blobs if folder else (store or b"").decode():
            check_named(url)
    except FederationError as error:
        return str(error)
    return ""
