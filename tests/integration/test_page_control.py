"""Runs are started, stopped and resumed from the page, and by nobody else's form."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis
from starlette.testclient import TestClient

from orchestrator.page.app import make_app
from orchestrator.page.control import MAX_FORM_BYTES, Control
from orchestrator.page.shelf import Shelf
from orchestrator.store.run_folder import RunFolder
from tasks.broker.url import URL_VARIABLE
from tests.integration import harness
from tests.orchestrator.page.told import Told

BOUND_S = 120.0
BASE = "http://localhost:8600"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A browser of a page that may start runs; they end with the test."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    app = make_app(Shelf(tmp_path), control=Control(tmp_path))
    yield TestClient(app, base_url=BASE, headers={"origin": BASE}, follow_redirects=False)
    for path in tmp_path.glob("*/config.json"):
        folder = RunFolder(path.parent)
        if folder.is_at_work():
            Control(tmp_path).stop(folder)
            until(lambda folder=folder: not folder.is_at_work())  # type: ignore[misc]


def until(happened: Callable[[], bool]) -> None:
    """Wait for something, not for ever."""
    deadline = time.monotonic() + BOUND_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("counted")
def test_a_run_is_started_stopped_and_resumed(web: TestClient, tmp_path: Path) -> None:
    # Given a form of the command's options, when it is sent with some of them
    form = web.get("/new").text
    assert 'name="--rounds"' in form
    assert "UNSET" not in form
    assert "data-still" in form
    entered = {"--rounds": "100000", "--algorithm": "fedprox", "--set": "mu=0.1", "--no-such": "1", "--seed": ""}
    entered |= {"--evaluate-clients": "no", "--observe": "plot"}
    answer = web.post("/new", data=entered)
    # Then a run is on that has them
    assert answer.status_code == 303, answer.text
    address = answer.headers["location"]
    folder = RunFolder(tmp_path / address.removeprefix("/runs/"))
    config = folder.config()
    assert (config.rounds, config.algorithm, config.settings) == (100_000, "fedprox", {"mu": 0.1})
    assert config.evaluate_clients is False
    until(lambda: len(folder.history()) > 0)
    assert "Stop</button>" in web.get(address).text
    # When it is stopped, then it ends as by Ctrl-C
    assert web.post(f"{address}/stop").status_code == 303
    until(lambda: not folder.is_at_work())
    summary = folder.summary()
    assert summary is not None
    assert summary.status == "interrupted"
    # And when it is resumed, it goes on
    assert "Resume</button>" in web.get(address).text
    assert web.post(f"{address}/resume").status_code == 303
    until(lambda: len(folder.history()) > summary.rounds)
    # And what the command has said each time is among the logs, for its owner alone
    told = sorted(folder.logs.glob("command-*.log"))
    assert len(told) == 2
    assert "interrupted" in told[0].read_text()
    assert stat.S_IMODE(told[0].stat().st_mode) == 0o600
    assert "interrupted" in web.get(f"{address}/logs?file={told[0].name}").text
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("counted")
def test_the_brokers_password_is_on_no_command_line(web: TestClient, tmp_path: Path, broker: Redis) -> None:
    # Given a broker with a password, when its URL is entered
    url = harness.url(broker)
    answer = web.post("/new", data={"--broker": url})
    # Then a run is on there, and the URL is in its environment, where no other user looks
    assert answer.status_code == 303, answer.text
    folder = RunFolder(tmp_path / answer.headers["location"].removeprefix("/runs/"))
    assert folder.config().local is False
    process = psutil.Process(json.loads(folder.process.read_bytes())["pid"])
    assert harness.ENCODED not in " ".join(process.cmdline())
    assert process.environ()[URL_VARIABLE] == url
    # And when it is ended, then it can be resumed with the URL, and not without
    address = answer.headers["location"]
    assert web.post(f"{address}/stop").status_code == 303
    until(lambda: not folder.is_at_work())
    assert 'name="--broker"' in web.get(address).text
    assert "name it with --broker" in web.post(f"{address}/resume").text
    assert web.post(f"{address}/resume", data={"--broker": url}).status_code == 303
    until(folder.is_at_work)


@pytest.mark.usefixtures("counted")
def test_what_the_command_refuses_is_said_at_the_field(web: TestClient, tmp_path: Path) -> None:
    # Given options that don't suit, when they are sent, then the command's own message is at the option that it names
    answer = web.post("/new", data={"--rounds": "none", "--seed": "7"})
    assert answer.status_code == 422
    assert '--rounds" value="none"' in answer.text
    assert 'aria-describedby="about--rounds" aria-invalid="true"' in answer.text
    assert answer.text.count('aria-invalid="true"') == 1
    assert 'name="--seed" value="7"' in answer.text
    assert not list(tmp_path.iterdir())
    assert "algorithm" in web.post("/new", data={"--algorithm": "fedavgg"}).text


def test_a_form_that_is_none_is_refused(web: TestClient) -> None:
    assert web.post("/new", data={"--seed": "7\0"}).status_code == 422
    assert web.post("/new", data={"--seed": "7" * MAX_FORM_BYTES}).status_code == 422
    assert web.post("/runs/none/stop").status_code == 404


@pytest.mark.usefixtures("counted")
def test_a_run_that_cant_be_resumed_is_refused_whatever_is_left_of_it(web: TestClient, tmp_path: Path) -> None:
    # Given a run that was killed, and whose observer isn't there any more
    told = Told(tmp_path / "run", observe=("nowhere:Mine",))
    told.folder.process.write_text("{}")
    # When it is to be resumed, then why it can't be is said
    answer = web.post("/runs/run/resume")
    assert answer.status_code == 422
    assert "there is no module" in answer.text


def test_a_run_that_is_not_on_cant_be_stopped(web: TestClient, tmp_path: Path) -> None:
    Told(tmp_path / "run").begin("anna")
    answer = web.post("/runs/run/stop")
    assert answer.status_code == 422
    assert "process.json" in answer.text


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://localhost:8601"])
def test_another_sites_form_may_do_nothing(web: TestClient, tmp_path: Path, origin: str) -> None:
    answer = web.post("/new", data={"--rounds": "1"}, headers={"origin": origin})
    assert answer.status_code == 403
    assert not list(tmp_path.iterdir())
