"""The guardian: a small process that starts the others, and ends them when the orchestrator ends, even if killed.

It runs as a script with nothing but the standard library. It reads commands, a JSON object a line, from standard input,
whose other end only the orchestrator holds, and writes events to standard output in the same form::

    {"start": "worker", "command": [...], "environment": {...}, "log": "/path", "last": false, "grace_s": 1.0}
    {"ended": "worker", "code": -9}

When standard input ends, as it does when the orchestrator is killed, the guardian terminates all processes, those
marked ``last`` after the others. It kills a process that doesn't end within its ``grace_s``, and removes its folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

MAX_FOLDER_LENGTH = 70
_PR_SET_PDEATHSIG = 1


def _private(path: str, flags: int) -> int:
    """Open a file, which its owner alone may read if it is new."""
    return os.open(path, flags, 0o600)


class Guardian:
    """Starts processes, reports their ends, and ends all that still run."""

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.last: set[str] = set()
        self.grace_s: dict[str, float] = {}

    def start(self, order: dict[str, Any]) -> None:
        """Start a process that appends its output to a log."""
        name = order["start"]
        with open(order["log"], "ab", opener=_private) as log:
            self.running[name] = subprocess.Popen(
                order["command"],
                env=order["environment"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_guardian,  # noqa: PLW1509  # this process has one thread
            )
        self.grace_s[name] = order["grace_s"]
        if order["last"]:
            self.last.add(name)

    def reap(self) -> None:
        """Report the processes that have ended."""
        for name, process in list(self.running.items()):
            code = process.poll()
            if code is not None:
                del self.running[name]
                _signal_group(process, signal.SIGKILL)
                _tell({"ended": name, "code": code})

    def end_all(self) -> None:
        """End every process, those marked as last after the others."""
        self._end([name for name in self.running if name not in self.last])
        self._end(list(self.running))

    def _end(self, names: list[str]) -> None:
        started = time.monotonic()
        processes = [(self.running.pop(name), started + self.grace_s[name]) for name in names]
        for process, deadline in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM if deadline > started else signal.SIGKILL)
        for process, deadline in sorted(processes, key=lambda entry: entry[1]):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            _signal_group(process, signal.SIGKILL)
            process.wait()


def _die_with_guardian() -> None:
    """Have the kernel kill the new process if the guardian itself is killed (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the process group that ``process`` leads: its children may outlive it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _tell(event: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # the orchestrator is gone; standard input will end
        os.write(sys.stdout.fileno(), (json.dumps(event) + "\n").encode())


def main() -> None:
    """Carry out commands until standard input ends, then end everything."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        # A unix socket's path is limited to 107 bytes.
        short = len(tempfile.gettempdir()) <= MAX_FOLDER_LENGTH
        folder = tempfile.mkdtemp(prefix="celeriac-", dir=None if short else "/tmp")  # noqa: S108
    except OSError as error:
        _tell({"no_folder": str(error)})
        return
    _tell({"folder": folder})
    try:
        _serve()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve() -> None:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    guardian = Guardian()
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    buffer = b""
    try:
        while True:
            ready = {key.fd for key, _ in selector.select(timeout=1.0)}
            if wake_read in ready:
                os.read(wake_read, 4096)
            guardian.reap()
            if sys.stdin.fileno() in ready:
                data = os.read(sys.stdin.fileno(), 2**20)
                if not data:
                    return
                buffer += data
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    guardian.start(json.loads(line))
    finally:
        guardian.end_all()


if __name__ == "__main__":
    main()
