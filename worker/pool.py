"""The pool of a client's worker: its processes are made before anything of a user's is loaded, and then load it.

The main process, which forks them and keeps up the heartbeat, has nothing of a user's, and no threads or locks of a
library's: a process that is forked from it is as good as a new interpreter.
"""

from __future__ import annotations

import gc
import logging
import mmap
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from billiard import current_process
from celery import Celery

from tasks.announcement import Announcement
from tasks.pool import TaskPool
from tasks.workload import StartMethod
from worker import compute
from worker.ending import said_at_once
from worker.handlers import load_kinds
from worker.loading import Loader, empty
from worker.reports import Failed, Loaded, Reports
from worker.settings import START_METHOD_VARIABLE
from worker.tasks import register, register_late, register_name

logger = logging.getLogger(__name__)


class Loading:
    """What is between a worker's start and its clients' announcements.

    Args:
        loader: Loads the clients.

    Attributes:
        announcements: What to announce, when all is loaded.
    """

    def __init__(self, loader: Loader) -> None:
        self.announcements: Sequence[Announcement] = ()
        self.reports = Reports()
        self._loader = loader
        self._begun: Any = None
        """Of each pool process, shared by all: 1 from when it begins to load until it has loaded."""

    def load_here(self, *, forks: bool) -> None:
        """Load in this process, the main one.

        Args:
            forks: Whether pool processes are forked from it afterwards.
        """
        loader = replace(self._loader, forks=forks)
        loader.serve()
        for kind in load_kinds(loader.settings.allowed.orders):
            register(kind)
        self._take(loader.describe(list(loader.served.folders)))

    def begin(self, num_processes: int) -> None:
        """Get ready to hear of as many pool processes, before these are made."""
        self._begun = mmap.mmap(-1, num_processes)
        self.reports.open(num_processes)

    def load_in_pool_process(self, app: Celery, hostname: str) -> None:
        """Load in this process, one of the pool's, and report to the main one.

        A process that is made in the place of one that was killed loads again. If that was killed while it loaded, the
        orders are left to find out why: each of them is told as lost.

        Args:
            app: The worker's app.
            hostname: The worker's name.
        """
        if self._begun is None:
            if self._loader.settings.num_processes == 1:
                compute.use_all_threads()
            return  # the main process has loaded it all
        index: int = current_process().index  # type: ignore[attr-defined]  # the pool's, from 0
        is_first = bool(self.reports.pipes)

        def fail(reason: str, exit_code: int) -> None:
            self.reports.send(index, Failed(reason, exit_code))
            if is_first:
                sys.exit(exit_code)

        with said_at_once(fail):
            kinds = load_kinds(self._loader.settings.allowed.orders)
            for kind in kinds:
                register_late(app, kind, hostname)
            self._load(index, is_first=is_first, own_kinds=[kind.order.name for kind in kinds])
        self.reports.close()  # nobody reads what is said of clients that are loaded again for an order
        gc.freeze()

    def _load(self, index: int, *, is_first: bool, own_kinds: Sequence[str]) -> None:
        loader = replace(self._loader, tell=partial(self.reports.send, index))
        loader.serve()
        if self._begun[index]:
            logger.warning("a process was killed while it loaded: this one, in its place, loads when an order comes")
            return
        self._begun[index] = 1
        loader.tell(f"importing {loader.settings.workload}")
        if is_first and (wanted := loader.start_method()) != "spawn":
            self.reports.send(index, Loaded(start_method=wanted))
            return
        share = list(loader.served.folders)[index :: len(self._begun)]
        announcements = loader.describe(share if is_first else share[:1])
        self._begun[index] = 0
        self.reports.send(index, Loaded(announcements, own_kinds))

    def finish(self, exit_code: Callable[[int], int | None]) -> StartMethod:
        """Wait for all processes to load; return what the workload wants: if not ``spawn``, nothing is loaded.

        Args:
            exit_code: Says how the process of an index has ended; None if it runs.

        Raises:
            FederationError: If one couldn't load, or has ended.
        """
        loaded = self.reports.collect(exit_code)
        self.reports.close()
        for name in loaded[0].own_kinds:
            register_name(name)
        if loaded[0].start_method == "spawn":
            self._take([announcement for each in loaded for announcement in each.announcements])
        return loaded[0].start_method

    def _take(self, announcements: Sequence[Announcement]) -> None:
        settings, served = self._loader.settings, self._loader.served
        self.announcements = announcements
        if served.shared_queue:
            empty(settings, served.shared_queue)
        num_examples = sum(announcement.num_examples for announcement in announcements)
        who = f"{len(announcements)} clients have" if served.shared_queue else f"client {served.identity.client_id} has"
        logger.info("%s %d examples of %s", who, num_examples, settings.workload)


class LoadingPool(TaskPool):
    """The pool that a client's worker runs: it has started when its processes have loaded what the clients have."""

    def on_start(self) -> None:
        """Make the processes and wait until they have loaded."""
        loading: Loading = self.app.loading
        loading.begin(self.limit)
        with said_at_once():
            super().on_start()
        start_method: StartMethod = "spawn"
        try:
            with said_at_once():
                start_method = loading.finish(self._exit_code)
        except BaseException:  # a signal to end, too
            self._kill_processes()
            raise
        if start_method != "spawn":
            self._kill_processes()
            logger.info("the workload wants the start method %s: the worker begins anew", start_method)
            os.environ[START_METHOD_VARIABLE] = start_method
            begin_anew()

    def _kill_processes(self) -> None:
        """Kill the processes: what loads may take its time to end otherwise."""
        for process in self._processes():
            if process.exitcode is None:
                os.kill(process.pid, signal.SIGKILL)
                process.join()

    def _exit_code(self, index: int) -> int | None:
        code: int | None = self._processes()[index].exitcode
        return code

    def _processes(self) -> list[Any]:
        processes: list[Any] = self._pool._pool  # type: ignore[union-attr]  # billiard has no types
        return processes


def begin_anew() -> None:
    """Have this process be the worker from its beginning.

    What its workload wants the main process can learn only by importing what is the user's, after which it may not be
    as it has to be.
    """
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # what was started by the user
