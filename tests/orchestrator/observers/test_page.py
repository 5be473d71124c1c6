"""The page of a run, in a process of its own, ends with it."""

from __future__ import annotations

import logging
import os
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.observers import ObserverContext, load_observer
from orchestrator.observers.page import Page
from tasks.errors import ConfigurationError
from tests.orchestrator.observers.telling import STARTED
from tests.orchestrator.page.told import Told


def context(folder: Path, parameter: str) -> ObserverContext:
    return ObserverContext(folder, Told(folder).folder.config(), parameter, Console(force_terminal=True))


def test_the_page_is_served_as_long_as_the_run_lasts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a run that is told of, at any port that is free
    with caplog.at_level(logging.INFO):
        page = Page(context(tmp_path / "run", "0"))
    page.observe(STARTED)
    # When its address is opened, which the log and the terminal name, then the run is there
    address = re.search(r"http://\S+/runs/run", caplog.text)
    assert address is not None
    assert address[0] in capsys.readouterr().out
    with urllib.request.urlopen(address[0], timeout=60) as answer:
        assert "fedavg on" in answer.read().decode()
    # And when the run is over, it is gone
    page.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address[0], timeout=60)


def test_a_port_that_is_taken_costs_the_run_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        page = Page(context(tmp_path / "run", str(listening.getsockname()[1])))
        page.observe(STARTED)
        page.close()
    assert "the run goes on without a page: --host 127.0.0.1" in caplog.text


def test_however_much_the_server_says_it_is_in_the_log_and_it_ends_with_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server that says more as it ends than a pipe holds
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit\natexit.register(print, *['much more'] * 10_000, sep='\\n')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with caplog.at_level(logging.DEBUG):
        page = Page(context(tmp_path / "run", "0"))
        # When the run is over, then it ends, and all of it is in the log
        page.close()
    assert caplog.text.count("the page: much more") == 10_000


@pytest.mark.parametrize("parameter", ["70000", "x", "0.0.0.0:80", "-1"])
def test_what_is_no_port_is_refused(parameter: str) -> None:
    with pytest.raises(ConfigurationError, match="a port from 0"):
        load_observer(f"page:{parameter}")


def test_where_the_page_is_not_installed_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.observers.page.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=re.escape("celeriac[page]")):
        load_observer("page")
