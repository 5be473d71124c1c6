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
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a page beside a run whose folder's name can't be shown
    odd = tmp_path / os.fsdecode(b"\xff")
    odd.mkdir()
    (odd / "config.json").write_text("{")
    with caplog.at_level(logging.DEBUG):
        page = Page(context(tmp_path / "run", "0"))
        address = re.search(r"http://\S+/", caplog.text)
        assert address is not None
        # When it has said more of that than a pipe holds
        for _ in range(20):
            with pytest.raises(urllib.error.HTTPError, match="500"):
                urllib.request.urlopen(address[0].partition("runs/")[0], timeout=60)
        page.close()
    # Then all of it is in the log
    assert caplog.text.count("UnicodeEncodeError:") == 20
    assert len(caplog.text) > 2**16


@pytest.mark.parametrize("parameter", ["70000", "x", "0.0.0.0:80", "-1"])
def test_what_is_no_port_is_refused(parameter: str) -> None:
    with pytest.raises(ConfigurationError, match="a port from 0"):
        load_observer(f"page:{parameter}")


def test_where_the_page_is_not_installed_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.observers.page.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=re.escape("celeriac[page]")):
        load_observer("page")
