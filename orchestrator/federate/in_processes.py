"""A run in processes of its own: the command itself, which ends with the program that has begun it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from orchestrator.federate.by_value import ByValue
from orchestrator.federate.showing import shown
from orchestrator.opening import discard, runs_programs, shown_path
from orchestrator.processes.processes import Process, Processes
from orchestrator.processes.workers import last_line
from orchestrator.store.run_folder import RunFolder
from tasks.broker.url import URL_VARIABLE
from tasks.errors import ConfigurationError, RunFailedError
from tasks.own_packages import ROOT

POLL_S = 0.05
"""Seconds between two looks at the run."""
GRACE_S = 30.0
"""Seconds that an orchestrator may take to end in good order, with all that it has started."""
_ERROR = "error: "


@dataclass(frozen=True, slots=True)
class InProcesses:
    """Carries a run out by ``python -m orchestrator.start --resume``.

    A guardian starts that and ends it with this process, however this one ends. It has a session of its own, which no
    Ctrl-C here reaches.

    Attributes:
        broker: The broker's URL; None starts a server and clients here.
        by_value: What goes by value.
        pickled: The same as bytes; empty if there is nothing.
        is_live: Whether to show the run on this terminal.
        is_new: Whether the run was begun by this program; then nothing is left of it should it be refused.
    """

    broker: str | None
    by_value: ByValue
    is_live: bool
    is_new: bool
    pickled: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Pickle now what goes by value: a user may change it while the run goes on.

        Raises:
            ConfigurationError: If it can't be handed to another process.
        """
        object.__setattr__(self, "pickled", self.by_value.pickled())

    def __call__(self, folder: RunFolder, look: Callable[[], None], stopping: Event) -> None:
        """Carry the run out.

        Raises:
            ConfigurationError: If it was refused, by what an option or a user's code was found to be.
            RunFailedError: If it failed otherwise, or was ended by somebody else.
        """
        try:
            code, told = self._await_end(folder, look, stopping)
            if code and not stopping.is_set():
                raise (ConfigurationError if code == ConfigurationError.exit_code else RunFailedError)(told)
        except BaseException as error:
            if folder.has_rounds():
                error.add_note(f"go on with federate(…, resume={shown_path(folder.path)!r})")
            elif self.is_new and isinstance(error, ConfigurationError):
                discard(folder)
            raise

    def _await_end(self, folder: RunFolder, look: Callable[[], None], stopping: Event) -> tuple[int, str]:
        """Start the orchestrator and return its exit code and the error that it has said, or 0 when it is to stop."""
        with Processes(GRACE_S + POLL_S) as processes, shown(folder, is_live=self.is_live) as show:
            log = processes.folder / "orchestrator.log"
            if self.pickled:
                self.by_value.write(self.pickled, processes.folder)
            processes.start(self._orchestrator(folder, log, processes.folder))
            while not stopping.wait(POLL_S):
                code = processes.ended().get("orchestrator")
                look()
                show()
                if code is not None:
                    return code, _told(log) or f"the orchestrator was ended from elsewhere ({_ending(code, log)})"
        return 0, ""

    def _orchestrator(self, folder: RunFolder, log: Path, own: Path) -> Process:
        paths = [path or str(Path.cwd()) for path in sys.path]
        return Process(
            name="orchestrator",
            command=[
                sys.executable, "-P", "-m", "orchestrator.start", "--resume", str(folder.path.absolute()),
                *([] if self.broker else ["--broker", "embedded"]),
                *(["--workload", spec] if runs_programs(spec := folder.config().workload) else []),
            ],
            environment={
                "PYTHONPATH": os.pathsep.join(dict.fromkeys([*paths, str(ROOT), str(own)])),
                **({URL_VARIABLE: self.broker} if self.broker else {}),
            },
            log=log,
            grace_s=GRACE_S,
        )  # fmt: skip


def _told(log: Path) -> str:
    """Return the error that the command has said; empty if it said none."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return next((line.removeprefix(_ERROR) for line in reversed(lines) if line.startswith(_ERROR)), "")


def _ending(code: int, log: Path) -> str:
    """Return the signal that ended it, or the last that it said."""
    number = -code if code < 0 else code - 128
    return signal.Signals(number).name if number in set(signal.Signals) else last_line(log)
