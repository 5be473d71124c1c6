"""The pool that workers run: Celery's prefork pool, which notices sooner that a process of its own was killed.

Celery hears of it by a pipe that closes, and then looks once for processes that have ended. The pipe may close before
the process can be waited for; then it is found by a timer alone, up to five seconds later, and all that while the order
that it had, or the next one, waits.
"""

from __future__ import annotations

from collections.abc import Callable

from celery.concurrency import asynpool, prefork

from tasks.pool_process import end_children_of

LOOK_S = 0.5
"""Seconds between two looks for processes that have ended."""


class WatchfulPool(asynpool.AsynPool):
    """The pool's processes, looked after more often."""

    @property
    def timers(self) -> dict[Callable[[], None], float]:
        """What the worker's event loop calls, and every how many seconds."""
        return {self.maintain_pool: LOOK_S}

    def _join_exited_workers(self, shutdown: bool = False) -> list[int]:  # billiard's
        """Take leave of processes that have ended, and end what users' code has started there."""
        before = self._pids()
        try:
            exit_codes: list[int] = super()._join_exited_workers(shutdown)  # type: ignore[misc]  # billiard has no types
            return exit_codes
        finally:
            for pid in before - self._pids():
                end_children_of(pid)

    def _pids(self) -> set[int]:
        return {process.pid for process in self._pool}  # type: ignore[attr-defined]  # likewise


class TaskPool(prefork.TaskPool):
    """What ``worker_pool`` names."""

    Pool = WatchfulPool
