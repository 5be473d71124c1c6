"""The orchestrator's side of the guardian: starting child processes and learning of their ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.processes import guardian
from tasks.errors import ConfigurationError, RunFailedError

GRACE_S = 1.0
"""Seconds between asking a process to end and killing it."""
CLOSE_TIMEOUT_S = 5 * GRACE_S
"""Seconds that the guardian may take to end everything, unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process to start.

    Attributes:
        name: Its name, unique among the running processes.
        command: Program and arguments.
        environment: Variables added to this process's own.
        log: File that its output is appended to.
        last: Whether it must end after the others, because they use it.
        grace_s: Seconds between asking it to end and killing it; 0 kills it at once.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    last: bool = False
    grace_s: float = GRACE_S


class Processes:
    """Starts child processes, which end with this one; use as a context manager.

    Args:
        close_timeout_s: Seconds that the guardian may take to end everything.

    Raises:
        ConfigurationError: If no temporary folder can be made.
    """

    def __init__(self, close_timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        self._close_timeout_s = close_timeout_s
        self._buffer = b""
        self._guardian = subprocess.Popen(
            [sys.executable, "-S", guardian.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._guardian.stdout is not None
        begun = json.loads(self._guardian.stdout.readline())
        if "no_folder" in begun:
            raise ConfigurationError(
                f"no temporary folder can be made, name one that is writable by TMPDIR: {begun['no_folder']}"
            )
        self.folder = Path(begun["folder"])
        """A temporary folder; the guardian removes it when the processes end."""
        os.set_blocking(self._guardian.stdout.fileno(), False)

    def start(self, process: Process) -> None:
        """Start a process."""
        order = {
            "start": process.name,
            "command": list(process.command),
            "environment": {**os.environ, **process.environment, "TMPDIR": str(self.folder)},
            "log": str(process.log.resolve()),
            "last": process.last,
            "grace_s": process.grace_s,
        }
        assert self._guardian.stdin is not None
        self._guardian.stdin.write((json.dumps(order) + "\n").encode())
        self._guardian.stdin.flush()

    def ended(self) -> dict[str, int]:
        """Return the processes that have ended since the last call, with their exit codes."""
        assert self._guardian.stdout is not None
        read = self._guardian.stdout.read()
        if read == b"":
            raise RunFailedError("the guardian of this run's processes was killed, and they with it")
        self._buffer += read or b""
        *lines, self._buffer = self._buffer.split(b"\n")
        return {event["ended"]: event["code"] for event in map(json.loads, lines)}

    def close(self) -> None:
        """End all processes and remove the temporary folder."""
        try:
            self._guardian.communicate(timeout=self._close_timeout_s)
        except (subprocess.TimeoutExpired, ValueError):
            self._guardian.kill()
            self._guardian.wait()
        shutil.rmtree(self.folder, ignore_errors=True)  # the guardian does this too, unless it was killed

    def __enter__(self) -> Processes:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes."""
        self.close()
