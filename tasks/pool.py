"""The pool that workers run: Celery's prefork pool, whose processes end when their worker says so and not before.

A service manager sends SIGTERM to all processes of a service, a terminal that is closed SIGHUP to all that it has. The
worker's main process then lets the order under way be carried out, so its pool processes take no notice.

The pool also notices sooner that a process of its own was killed. Celery hears of it by a pipe that closes, and then
looks once for processes that have ended. The pipe may close before the process can be waited for; then it is found by a
timer alone, up to five seconds later, and all that while the order that it had, or the next one, waits.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from celery.concurrency import asynpool, prefork
from celery.worker import state
from kombu.asynchronous import get_event_loop, set_event_loop

from tasks.errors import ConfigurationError
from tasks.pool_process import end_children_of, leave_ending_to_parent

LOOK_S = 0.5
"""Seconds between two looks for processes that have ended."""


class PoolProcess(asynpool.Worker):
    """A process of the pool."""

    on_exit: Callable[[int, int], None] | None  # billiard's, which has no types

    def on_loop_start(self, pid: int) -> None:  # billiard's
        """Begin to wait for orders: from here on billiard sets no more signals' handlers."""
        leave_ending_to_parent()
        super().on_loop_start(pid)

    def _do_exit(self, pid: int, exitcode: int | None, exc: Exception | None = None) -> None:
        """End at once where the pool has told this process to; the main process waits for nothing but that.

        Else tell the main process and end, a second later or when that sends SIGTERM.
        """
        if not exitcode and exc is None:
            if self.on_exit is not None:
                self.on_exit(pid, os.EX_OK)
            os._exit(os.EX_OK)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        super()._do_exit(pid, exitcode, exc)  # type: ignore[misc]  # billiard has no types


class WatchfulPool(asynpool.AsynPool):
    """The pool's processes, looked after more often."""

    Worker = PoolProcess

    @property
    def timers(self) -> dict[Callable[[], None], float]:
        """What the worker's event loop calls, and every how many seconds."""
        return {self.maintain_pool: LOOK_S}

    def kill(self) -> None:
        """Kill the processes: they heed no other signal."""
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def terminate(self) -> None:
        """End at once."""
        self.kill()
        super().terminate()

    def terminate_job(self, pid: int, sig: int | None = None) -> None:
        """Kill the process of an order that is given up, as by a worker that is to end at once."""
        super().terminate_job(pid, signal.SIGKILL)

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
    _pool: WatchfulPool | None

    def on_start(self) -> None:
        """Make the processes.

        Raises:
            ConfigurationError: If the system doesn't let the processes be made, or share semaphores.
        """
        try:
            super().on_start()
        except OSError as error:
            needs = "they need a writable /dev/shm, and open files (ulimit -n)"
            raise ConfigurationError(f"the worker's processes can't be made: {error}: {needs}") from None

    def on_stop(self) -> None:
        """Wait for the orders under way; if the worker is to end at once, give them up.

        Celery has by then cancelled those of which it knows that they have begun, and would wait for the others.
        """
        at_once: object = state.should_terminate
        if self._pool is not None and at_once is not None:
            self._pool.kill()
        # With an event loop Celery has a thread go on with its timers meanwhile, whose end takes up to half a second.
        loop = get_event_loop()
        set_event_loop(None)
        try:
            super().on_stop()
        finally:
            set_event_loop(loop)
