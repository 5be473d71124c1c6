"""The command ``python -m orchestrator.page``: shows runs in a browser, as they go on and when they are over."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import click

from tasks.command import telling_errors
from tasks.errors import ConfigurationError

try:
    import uvicorn

    from orchestrator.page.access import is_loopback, token_in
    from orchestrator.page.app import make_app
    from orchestrator.page.control import Control
    from orchestrator.page.shelf import Shelf
except ImportError:
    sys.exit("error: the page takes starlette, uvicorn and jinja2: pip install 'celeriac[page]'")

RUNS = Path("runs")
"""Where orchestrator.start puts runs; its own name of it would load all of what a run needs."""
PORT = 8600
LAST_LOOK_S = 2.5
"""Seconds for which readers are served after standard input has ended: what came last is to be seen."""
MAX_READERS = 200
"""Connections that are served at a time; a browser that follows a screen has one or two."""
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(context_settings={"show_default": True})
@click.argument("runs", type=click.Path(path_type=Path), default=RUNS)
@click.option("--host", default="127.0.0.1", help="Address to listen at; any but this machine's own needs a token.")
@click.option("--port", type=click.IntRange(0, 65_535), default=PORT, help="Port to listen at; 0: any that is free.")
@click.option("--token-file", type=_FILE, help="File with the token that readers need; made if it isn't there.")
@click.option("--certificate", type=_FILE, help="Certificate (PEM) for TLS; needs --key.")
@click.option("--key", type=_FILE, help="Key (PEM) of the certificate.")
@click.option("--control", is_flag=True, help="Start, stop and resume runs from the page, too; needs --token-file.")
@click.option("--until-eof", is_flag=True, hidden=True, help="End when standard input does.")
@telling_errors
def main(
    runs: Path,
    host: str,
    port: int,
    token_file: Path | None,
    certificate: Path | None,
    key: Path | None,
    control: bool,  # a flag of the command line
    until_eof: bool,  # a flag of the command line
) -> None:
    """Show the runs in the folder RUNS, runs/ if none is named, or the one run whose folder it is.

    It reads what runs write: a run neither waits for it nor ends with it.
    """
    if not runs.is_dir() and runs != RUNS:
        raise ConfigurationError(f"{runs}: there is no such folder")
    token = _token(token_file, host, control=control)
    if (certificate is None) != (key is None):
        raise ConfigurationError("--certificate and --key are given together, or neither")
    if control and (runs / "config.json").exists():
        raise ConfigurationError(
            f"--control: {runs} is one run's folder; another is started beside it: name {runs.parent}"
        )
    controls = Control(runs) if control else None
    ending = threading.Event()
    app = make_app(Shelf(runs), token, is_secure=certificate is not None, control=controls, is_over=ending.is_set)
    config = uvicorn.Config(
        app,
        host,
        port,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_READERS,
        timeout_graceful_shutdown=1,
        lifespan="off",
        ws="none",
    )
    listening = _listening(config)
    if not control:  # a run that it starts would be as nice
        os.nice(5)  # a run on this machine comes first
    server = _Server(config, ending)
    if until_eof:
        threading.Thread(target=_end_at_eof, args=[server], daemon=True).start()
    click.echo(f"the page: {_address(listening, config)}{'?token=TOKEN' if token else ''}")
    with suppress(KeyboardInterrupt):  # how it is ended
        server.run([listening])


class _Server(uvicorn.Server):
    """A server that says when it ends: those who follow a screen would keep it up.

    Args:
        config: Its settings.
        ending: What is set then.
    """

    def __init__(self, config: uvicorn.Config, ending: threading.Event) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._ending.set()
        await super().shutdown(sockets)


def _token(file: Path | None, host: str, *, control: bool) -> str | None:
    """Return the token that readers need, if they need one.

    Raises:
        ConfigurationError: If one is needed and no file is named, or the file is no good.
    """
    if file is not None:
        return token_in(file)
    if not is_loopback(host):
        raise ConfigurationError(f"--host {host}: whoever reaches it would see all runs: --token-file FILE is needed")
    if control:
        raise ConfigurationError("--control: who may start runs runs programs as you: --token-file FILE is needed")
    return None


def _listening(config: uvicorn.Config) -> socket.socket:
    """Return the socket that is listened at, after a look at what TLS needs.

    Raises:
        ConfigurationError: If the address is taken or none of this machine's, or the certificate can't be used.
    """
    try:
        config.load()
    except OSError as error:
        raise ConfigurationError(f"--certificate {config.ssl_certfile}, --key {config.ssl_keyfile}: {error}") from None
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((config.host, config.port), family=family)
    except OSError as error:
        raise ConfigurationError(f"--host {config.host} --port {config.port}: {error.strerror}") from None


def _address(listening: socket.socket, config: uvicorn.Config) -> str:
    host, port = listening.getsockname()[:2]
    return f"http{'s' if config.is_ssl else ''}://{f'[{host}]' if ':' in host else host}:{port}/"


def _end_at_eof(server: uvicorn.Server) -> None:
    """End with whoever started this, after a last look of those who follow a screen."""
    while os.read(sys.stdin.fileno(), 2**10):
        pass
    if server.server_state.connections:
        time.sleep(LAST_LOOK_S)
    server.should_exit = True


if __name__ == "__main__":
    main()
