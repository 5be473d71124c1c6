"""Telling observers a run's events: each has a thread and a bounded queue, so that none can stop or slow the run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from rich.console import Console

from orchestrator.config import RunConfig
from orchestrator.observers import ALWAYS, Observer, ObserverContext, load_observer
from orchestrator.observers.events import Event, Report

logger = logging.getLogger(__name__)

MOST_WAITING = 256
"""Events that an observer may be behind; further ones are dropped."""
MOST_FAILURES = 5
"""Failures in a row after which an observer is told nothing more."""
CLOSE_TIMEOUT_S = 20.0
"""Seconds that all observers have to take what is left, when the run is over: drawing a plot takes a while."""


@contextmanager
def observing(config: RunConfig, folder: Path, console: Console) -> Iterator[Report]:
    """Tell a run's observers what is reported, for as long as the block lasts.

    Args:
        config: The run's configuration; it names them.
        folder: The run's folder.
        console: The terminal, if it is one.
    """
    made = {}
    for spec in dict.fromkeys((*config.observe, *ALWAYS)):
        factory, parameter = load_observer(spec)
        made[spec] = partial(factory, ObserverContext(folder, config, parameter, console))
    stream = EventStream(config.run_id, made)
    try:
        yield stream.report
    finally:
        stream.close()


class EventStream:
    """Hands each event to all observers, with its time and run, and waits for none of them.

    Args:
        run_id: The run.
        observers: What makes each observer, by its name; called in the observer's thread.
        most_waiting: Events that an observer may be behind.
        close_timeout_s: Seconds that :meth:`close` takes at the most.
        now: The time of an event.
    """

    def __init__(
        self,
        run_id: str,
        observers: Mapping[str, Callable[[], Observer]],
        most_waiting: int = MOST_WAITING,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._run_id = run_id
        self._close_timeout_s = close_timeout_s
        self._now = now
        self._listeners = [_Listener(name, make, most_waiting) for name, make in observers.items()]

    def report(self, event: Event) -> None:
        """Tell an event."""
        time = self._now().isoformat(timespec="microseconds")
        stamped = event.model_copy(update={"time": time, "run_id": self._run_id})
        for listener in self._listeners:
            listener.put(stamped)

    def close(self) -> None:
        """Wait until the observers have taken what is left, or have had time enough for it."""
        deadline = time.monotonic() + self._close_timeout_s
        for listener in self._listeners:
            listener.end()
        for listener in self._listeners:
            listener.join(max(0.0, deadline - time.monotonic()))


class _Listener:
    """An observer, its thread, and the events that wait for it."""

    def __init__(self, name: str, make: Callable[[], Observer], most_waiting: int) -> None:
        self._name = name
        self._make = make
        self._most_waiting = most_waiting
        # A put into it is one step: a signal's handler that raises can't leave it locked.
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._num_dropped = 0
        self._is_off = False
        self._thread = threading.Thread(target=self._run, name=f"observer {name}", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Have the observer take an event, unless it is too far behind."""
        if self._is_off:
            return
        if self._events.qsize() < self._most_waiting:
            self._events.put(event)
            return
        self._num_dropped += 1
        if self._num_dropped == 1:
            logger.warning(
                "observer %s is %d events behind: it isn't told more until it has caught up",
                self._name,
                self._most_waiting,
            )

    def end(self) -> None:
        """Have the observer end after the events that wait for it."""
        self._events.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for its end, and say what it was not told."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.warning("observer %s isn't done: the run ends without it", self._name)
        if self._num_dropped:
            logger.warning("observer %s was not told %d events", self._name, self._num_dropped)

    def _run(self) -> None:
        try:
            observer = self._make()
        except (Exception, SystemExit):
            self._log("can't be made")
            self._switch_off()
            return
        self._tell(observer)
        try:
            observer.close()
        except (Exception, SystemExit):
            self._log("failed to close")

    def _tell(self, observer: Observer) -> None:
        num_failures = 0
        while (event := self._events.get()) is not None:
            try:
                observer.observe(event)
                num_failures = 0
            except (Exception, SystemExit):  # whatever the user's code raises
                self._log("failed")
                num_failures += 1
            if num_failures == MOST_FAILURES:
                self._switch_off()
                return

    def _log(self, what: str) -> None:
        logger.warning("observer %s %s", self._name, what, exc_info=True)

    def _switch_off(self) -> None:
        self._is_off = True
        logger.warning("observer %s is told nothing more: the run goes on without it", self._name)
