"""The pool that a worker runs: Celery's prefork pool, which notices sooner that a process of its own was killed.

Celery hears of it by a pipe that closes, and then looks once for processes that have ended. The pipe may close before
the process can be waited for; then it is found by a timer alone, up to five seconds later, and all that while the order
that it had, or the next one, waits.
"""

from __future__ import annotations

from collections.abc import Callable

from celery.concurrency import asynpool, prefork

LOOK_S = 0.5
"""Seconds between two looks for processes that have ended."""


class WatchfulPool(asynpool.AsynPool):
    """The pool's processes, looked after more often."""

    @property
    def timers(self) -> dict[Callable[[], None], float]:
        """What the worker's event loop calls, and every how many seconds."""
        return {self.maintain_pool: LOOK_S}


class TaskPool(prefork.TaskPool):
    """What ``worker_pool`` names."""

    Pool = WatchfulPool
