"""Running a program within a time: its output goes to the log, SIGTERM comes shortly before the end, SIGKILL at it."""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)

MOST_GRACE_S = 5.0
"""Seconds that a program has to write its results, after SIGTERM, at the most."""
GRACE_SHARE = 0.1
"""Share of the time that is kept for that."""
MOST_TOLD = 300
"""Characters of a program's last lines that a reason has; all lines are in the log."""
_NUM_LINES = 3
_MOST_LINE_BYTES = 10_000
_PATIENCE_S = 0.5
_GUARD = Path(__file__).with_name("program_guard.py")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program has ended: its exit code, whether for want of time, and its last lines."""

    code: int
    was_stopped: bool
    last_lines: str

    def __str__(self) -> str:
        """Say how, like ``ended with code 1: Error: there is no column 'age'``."""
        said = f": {self.last_lines}" if self.last_lines else ""
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(self.code - 128).name}{said}"
        return f"ended with code {self.code}{said}"


def grace_s(time_s: float) -> float:
    """Return the seconds between SIGTERM and SIGKILL of a program that has ``time_s`` in all."""
    return min(MOST_GRACE_S, GRACE_SHARE * time_s)


def run_program(words: Sequence[str], environment: Mapping[str, str], time_s: float, scratch: Path, name: str) -> Ended:
    """Run a program to its end, or until its time is over. Nothing that it has started goes on after that.

    Args:
        words: The program and its arguments.
        environment: Its whole environment.
        time_s: Seconds that it may take; shortly before them (see :func:`grace_s`) its process group gets SIGTERM.
        scratch: A folder that is removed if this process is killed meanwhile.
        name: What its lines in the log begin with.

    Raises:
        OSError: If there is no such program.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_GUARD), str(scratch), *words],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=_NUM_LINES)
    reader = threading.Thread(target=_log_lines, args=(process.stdout, name, last), daemon=True)
    reader.start()
    with process.stdin:
        was_stopped = _wait_or_stop(process, process.stdin, time_s)
    reader.join(_PATIENCE_S)  # longer only if something has left the group, and holds the pipe
    return Ended(process.returncode, was_stopped, " ".join(last)[-MOST_TOLD:])


def _wait_or_stop(process: subprocess.Popen[bytes], guard: IO[bytes], time_s: float) -> bool:
    """Wait for a program's end; return whether it had to be stopped."""
    grace = grace_s(time_s)
    if _has_ended(process, time_s - grace):
        return False
    process.terminate()
    if not _has_ended(process, grace):
        with contextlib.suppress(BrokenPipeError):
            guard.write(b"k")
            guard.flush()
        if not _has_ended(process, _PATIENCE_S):
            process.kill()
            process.wait()
    return True


def _has_ended(process: subprocess.Popen[bytes], time_s: float) -> bool:
    try:
        process.wait(time_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _log_lines(output: IO[bytes], name: str, last: deque[str]) -> None:
    with output:
        while line := output.readline(_MOST_LINE_BYTES):
            if text := line.decode(errors="replace").rstrip():
                logger.info("%s: %s", name, text)
                last.append(text)
