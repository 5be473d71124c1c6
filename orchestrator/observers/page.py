"""The live page while a run goes on, in a process of its own: it reads the run's folder as anybody's page does."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from urllib.parse import quote

from orchestrator.observers import ObserverContext
from orchestrator.observers.events import Event
from tasks.errors import ConfigurationError

logger = logging.getLogger(__name__)

PORT = 8600
END_S = 10.0
"""Seconds that the page's server has to end."""


class Page:
    """Serves the page of the run, and of those beside it, on this machine at ``PORT``, its parameter, until it ends."""

    def __init__(self, context: ObserverContext) -> None:
        port = context.parameter or str(PORT)
        command = [sys.executable, "-m", "orchestrator.page", str(context.folder.resolve().parent), "--port", port]
        self._server = subprocess.Popen(
            [*command, "--until-eof"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for the run
        )
        assert self._server.stdout is not None
        told = self._server.stdout.readline().strip()
        self._passing_on = threading.Thread(target=pass_on, args=[self._server.stdout], daemon=True)
        self._passing_on.start()
        if not told.startswith("the page: "):
            logger.warning("the run goes on without a page: %s", told.removeprefix("error: "))
            return
        told += f"runs/{quote(context.folder.resolve().name)}"
        logger.info("%s", told)
        if context.console.is_terminal:
            context.console.print(told, highlight=False, soft_wrap=True)

    @staticmethod
    def check(parameter: str) -> None:
        """Refuse what is no port, and any where the page isn't installed.

        Raises:
            ConfigurationError: If it is none, or there is no page.
        """
        if parameter and not (parameter.isascii() and parameter.isdigit() and int(parameter) <= 65_535):
            raise ConfigurationError(
                f"observer 'page:{parameter}': page or page:PORT is needed, a port from 0 (any that is free) to 65535; "
                "for readers on other machines run python -m orchestrator.page --host … --token-file …"
            )
        if not all(map(find_spec, ("starlette", "uvicorn", "jinja2"))):
            raise ConfigurationError("observer 'page' takes starlette, uvicorn, jinja2: pip install 'celeriac[page]'")

    def observe(self, event: Event) -> None:
        """The page goes by the run's folder."""

    def close(self) -> None:
        """Have the server end, once its readers have seen the end of the run."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with suppress(BrokenPipeError):
            self._server.stdin.close()
        try:
            self._server.wait(END_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._passing_on.join()
        self._server.stdout.close()


def pass_on(lines: Iterable[str]) -> None:
    """Log what the server says while it serves: it would wait for ever for somebody to read it."""
    for line in lines:
        logger.debug("the page: %s", line.rstrip())
