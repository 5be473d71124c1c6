"""A browser, and a server of the page."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

BOUND_S = 60.0


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser for all tests."""
    with chromium() as started:
        yield started


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, for as long as the block lasts."""
    path = shutil.which("chromium")
    assert path is not None, "there is no chromium: make chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def asked() -> list[str]:
    """Addresses that the browser has asked."""
    return []


@pytest.fixture
def tab(browser: Browser, asked: list[str]) -> Iterator[Page]:
    """A tab of its own, whose scripts must not fail."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(BOUND_S * 1000)
    failed: list[str] = []
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    assert failed == []


@contextmanager
def served(runs: Path, port: int = 0, *options: str) -> Iterator[str]:
    """The address of a server that shows the runs in a folder, for as long as the block lasts."""
    command = [sys.executable, "-m", "orchestrator.page", str(runs), "--port", str(port), "--until-eof", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            found = re.search(r"http://[\w.:]+", process.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            process.stdin.close()
            process.wait(BOUND_S)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
