"""A session of the orchestrator's process: signals, logs, and what became of the run, whatever became of it."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from dataclasses import replace

from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError, RedisError
from rich.console import Console

from orchestrator.config import RunConfig
from orchestrator.driver.cross_site import is_cross_site_due
from orchestrator.driver.logs import logging_run
from orchestrator.driver.run import Run, check_any_closed
from orchestrator.driver.summary import summarise
from orchestrator.observers.events import Event, Report, RunEnded
from orchestrator.observers.stream import observing
from orchestrator.processes.connect import connect_run
from orchestrator.store.best import is_over
from orchestrator.store.records import Summary
from orchestrator.store.run_folder import RunFolder
from orchestrator.store.run_process import noted
from orchestrator.trust.reaching import reach
from tasks.broker.refusals import away
from tasks.errors import FederationError

logger = logging.getLogger(__name__)

_FULL = (
    "the broker's memory is full, and stayed so (maxmemory, noeviction): give it more, or let less be on its way at a "
    "time (--in-flight-mb)"
)


class Interrupted(BaseException):
    """Raised in the main thread when a signal asks the orchestrator to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def run_session(config: RunConfig, folder: RunFolder, broker: str | None, signals: Signals) -> tuple[Summary, int]:
    """Carry out a run and show it; return its summary and the process's exit code."""
    started = time.monotonic()
    console = Console(stderr=True)
    signals.hold()
    folder.remove_temporaries()
    with (
        noted(folder.process),
        logging_run(config, folder, console) as note,
        observing(config, folder.path, console) as tell,
    ):

        def report(event: Event) -> None:
            note(event)
            tell(event)

        summary, exit_code = _run(config, folder, broker, report, signals, started)
        report(RunEnded(summary=summary))
    folder.remove_temporaries()  # now that no observer is at any of them
    energy = folder.energy()  # whole only when the observers are done
    if energy is not None:
        summary = summary.model_copy(update={"energy": energy})
        folder.save_summary(summary)
    return summary, exit_code


def _run(
    config: RunConfig, folder: RunFolder, broker: str | None, report: Report, signals: Signals, started: float
) -> tuple[Summary, int]:
    status, reason, exit_code = "completed", "", 0
    try:
        signals.handle()
        if _has_work_left(config, folder, broker):
            if broker is not None and reach(broker)[1] is None:
                logger.warning("who reaches the broker can read and change the run, as its clients aren't enrolled")
            with connect_run(config, folder, broker) as services:
                run = Run(config, folder, replace(services, poll=signals.heeding(services.poll)), report)
                run.run()
                run.finish_run()  # last: workers end after it, and whoever waits for the first to end waits for this
                services.tidy()
        else:
            check_any_closed(folder.history(), config)
    except Interrupted as signalled:
        signals.ignore()
        status, reason, exit_code = "interrupted", str(signalled), signalled.exit_code
    except FederationError as error:
        status, reason, exit_code = "failed", str(error), error.exit_code
    except OutOfMemoryError:
        status, reason, exit_code = "failed", _FULL, 1
    except (RedisError, OperationalError) as error:
        status, reason, exit_code = "failed", f"{away(error)}, and stayed so", 1
    except Exception as error:  # the boundary: whatever it was, it is told in one line, and in the log in full
        logger.debug("the run failed", exc_info=True)
        status, reason, exit_code = "failed", f"{type(error).__name__}: {error}", 1
    signals.ignore()
    summary = summarise(config, folder, status, reason, time.monotonic() - started)
    folder.save_summary(summary)
    return summary, exit_code


def _has_work_left(config: RunConfig, folder: RunFolder, broker: str | None) -> bool:
    """Say whether there are rounds to run or to evaluate, or clients on a broker that may wait for the farewell."""
    summary, stopped = folder.summary(), bool(is_over(folder))
    has_rounds = len(folder.history()) >= config.rounds or stopped
    # One that was completed may have been given more rounds since.
    is_completed = summary is not None and summary.status == "completed" and has_rounds
    is_to_evaluate = bool(folder.not_evaluated()) or is_cross_site_due(config, folder)
    return not has_rounds or is_to_evaluate or (broker is not None and not is_completed)


class Signals:
    """The signals that ask the orchestrator to end: SIGINT, SIGTERM, and SIGHUP unless ``nohup`` has it ignored."""

    def __init__(self) -> None:
        self._received: list[int] = []
        outlives_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._numbers = (signal.SIGINT, signal.SIGTERM, *(() if outlives_terminal else (signal.SIGHUP,)))

    def hold(self) -> None:
        """Keep what comes, until :meth:`handle` is called."""
        self._set_handlers(lambda number, _: self._received.append(number))

    def handle(self) -> None:
        """Have each of them raise :class:`Interrupted`, and one that was kept at once."""
        self._set_handlers(self._interrupt)
        if self._received:
            raise Interrupted(self._received[0])

    def ignore(self) -> None:
        """Let nothing interrupt the clean-up, which is bounded."""
        self._set_handlers(signal.SIG_IGN)

    def heeding(self, poll: Callable[[], bool]) -> Callable[[], bool]:
        """Return ``poll``, which is called again and again, made to raise what a signal has raised in vain.

        Python runs a signal's handler wherever it is, and swallows what it raises while an object is being destroyed.

        Raises:
            Interrupted: If a signal has come.
        """

        def heeding() -> bool:
            if self._received:
                raise Interrupted(self._received[0])
            return poll()

        return heeding

    def _interrupt(self, number: int, _: object) -> None:
        self._received.append(number)
        raise Interrupted(number)

    def _set_handlers(self, handler: Callable[[int, object], None] | signal.Handlers) -> None:
        for number in self._numbers:
            signal.signal(number, handler)
