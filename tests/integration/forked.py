"""Programs that are forked from a process that has imported what they import, which is most of what their start takes.

Tests start hundreds. From there on a program is what ``python -m`` makes of it, with an environment, a folder and an
end of its own; no module that is imported before reads any of these. What a program starts in its turn, like the
orchestrator's own worker, starts as everywhere.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any

IMPORTED = ("celery.bin.celery", "orchestrator.start", "worker.heartbeat", "worker.pool", "worker.reminder")
COMMANDS = (
    ("celery", "-A", "worker"),
    *((f"orchestrator.{name}",) for name in ("runs", "start", "statistics", "trust")),
)
"""How commands begin whose program may be forked. An own worker's has something to say before NumPy is imported."""
_ROOT = str(Path(__file__).parents[2])
_MOST_BYTES = 2**17


def may_fork(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Say whether a command's program may be forked, with what its environment has beside the test's own."""
    is_measured = "COVERAGE_PROCESS_CONFIG" in os.environ
    has_our_modules = environment.get("PYTHONPATH", _ROOT).split(os.pathsep)[0] == _ROOT
    return has_our_modules and not is_measured and any(tuple(command[: len(each)]) == each for each in COMMANDS)


class Forked:
    """A forked program, as :class:`subprocess.Popen` has it.

    Args:
        nursery: The process that forked it, and is told when to look for its end.
        pid: Its process id, which is its own until its exit code has been asked for.
    """

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        self._file = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return its exit code; None if it still runs."""
        return self._exit_code(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: If it still runs after so many seconds.
        """
        code = self._exit_code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def _exit_code(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._file], [], [], timeout_s)[0]:
            os.close(self._file)
            self.returncode = self._nursery.exit_code(self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tell it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process from which programs are forked. It ends when this one does."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": _ROOT},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._end)

    def fork(self, command: Sequence[str], cwd: Path | str, environment: Mapping[str, str], log: IO[bytes]) -> Forked:
        """Start a Python module's command, whose output goes to a file."""
        order = {"command": command, "cwd": str(cwd), "environment": environment}
        return Forked(self, self._ask(order, [log.fileno()]))

    def exit_code(self, pid: int) -> int:
        """Return the exit code of a program that has ended."""
        return self._ask({"ended": pid}, [])

    def _end(self) -> None:
        self._channel.close()
        self._process.wait()

    def _ask(self, order: object, files: list[int]) -> int:
        socket.send_fds(self._channel, [json.dumps(order).encode()], files)
        return int(self._channel.recv(_MOST_BYTES))


@functools.cache
def nursery() -> Nursery:
    """Return this process's nursery, which is there from its first use on."""
    return Nursery()


def take_orders(channel: socket.socket) -> dict[str, Any] | None:
    """Fork programs, and tell of their ends, until nobody asks any more: then return None.

    In each process that was forked, it returns what that is to be.
    """
    while True:
        message, files, _, _ = socket.recv_fds(channel, _MOST_BYTES, 1)
        if not message:
            return None
        order: dict[str, Any] = json.loads(message)
        if "ended" in order:
            _, status = os.waitpid(order["ended"], 0)
            answer = os.waitstatus_to_exitcode(status)
        elif (answer := os.fork()) == 0:
            return order | {"log": files[0]}
        for file in files:
            os.close(file)
        channel.send(str(answer).encode())


def become(command: Sequence[str], cwd: str, environment: Mapping[str, str], log: int) -> None:
    """Be what ``python -m`` makes of a command."""
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:2] = [cwd, *environment["PYTHONPATH"].split(os.pathsep)]
    sys.argv, sys.orig_argv = [*command], [sys.executable, "-m", *command]
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    gc.disable()
    for name in IMPORTED:
        import_module(name)
    del sys.modules["orchestrator.start"]  # which is a program, and read as one
    gc.freeze()
    gc.enable()
    with socket.socket(fileno=int(sys.argv[1])) as _channel:
        _order = take_orders(_channel)
    if _order is not None:
        become(**_order)
