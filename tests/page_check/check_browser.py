"""A real browser drives the page: see ``make page-check``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from orchestrator.observers.events import RoundOpened
from tests.orchestrator.page.told import ATTACK, Told, write_long
from tests.page_check.conftest import BOUND_S, free_port, served

expect.set_options(timeout=BOUND_S * 1000)
SCREENS = (
    "/",
    "/compare?run=ended&run=troubled",
    "/runs/troubled",
    "/runs/troubled/rounds/1",
    "/runs/troubled/clients",
    "/runs/ended/logs",
    "/runs/ended/settings",
    "/runs/ended/files",
    "/new",
)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A run that ended well, and one that had a round of troubles."""
    ended = Told(tmp_path / "ended", rounds=2)
    ended.begin("anna", "bert")
    ended.close(1, "anna", "bert", at_s=10)
    ended.close(2, "anna", "bert", at_s=20)
    ended.end()
    (ended.folder.logs / "orchestrator.log").write_text("all is well\nWARNING something isn't\n")
    troubled = Told(tmp_path / "troubled", rounds=5, verify=("holdout",), threshold=("0.5",), algorithm="fedprox")
    troubled.begin("anna", "bert", "carl", "dora", "emil", *(f"client-{number}" for number in range(20)))
    troubled.trouble(1, at_s=10)
    return tmp_path


def test_a_run_is_followed_from_its_start_to_its_end(tmp_path: Path, tab: Page, asked: list[str]) -> None:
    # Given the list of runs, open before there is one
    folder = tmp_path / "runs"
    folder.mkdir()
    with served(folder) as address:
        tab.goto(address)
        expect(tab.locator("main")).to_contain_text("There is no run yet")
        tab.evaluate("window.loaded = 1")
        # When a run begins, then it appears without a reload
        command = [sys.executable, "-m", "orchestrator.start", "--clients", "2", "--rounds", "5", "--run-dir"]
        environment = {name: value for name, value in os.environ.items() if name != "CELERY_BROKER_URL"}
        with subprocess.Popen([*command, str(folder / "first")], stderr=subprocess.DEVNULL, env=environment) as run:
            link = tab.get_by_role("link", name="first")
            expect(link).to_be_visible()
            assert tab.evaluate("window.loaded") == 1
            # And its own screen follows it to its end
            link.click()
            tab.evaluate("window.loaded = 2")
            expect(tab.locator("h1")).to_contain_text("completed")
            expect(tab.locator("#head")).to_contain_text("5 of 5")
            expect(tab.locator("#rounds tbody tr")).to_have_count(5)
            expect(tab.locator("#curves figure")).to_have_count(2)
            assert tab.evaluate("window.loaded") == 2
            assert run.wait(BOUND_S) == 0
    # And the browser has asked nobody else
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(address).netloc}


def test_a_restart_of_the_server_is_survived(runs: Path, tab: Page) -> None:
    # Given a screen that is followed
    port = free_port()
    with served(runs, port) as address:
        tab.goto(f"{address}/runs/troubled")
        expect(tab.locator("#connection")).to_have_text("live")
        tab.evaluate("window.loaded = 1")
    # When the server is gone, then that is said
    expect(tab.locator("#connection")).to_contain_text("no connection")
    # And when it is there again, what has come since is shown, without a reload
    told = runs / "troubled" / "events.jsonl"
    with told.open("a") as file:
        file.write(json.dumps({"time": "2026-01-02T03:05:05+00:00", **opened(2).model_dump(exclude={"time"})}) + "\n")
    with served(runs, port):
        expect(tab.locator("#connection")).to_have_text("live")
        expect(tab.locator("#cohort h2")).to_have_text("Round 2, which was not closed")
        assert tab.evaluate("window.loaded") == 1


def test_clients_are_filtered_while_they_are_followed(runs: Path, tab: Page) -> None:
    with served(runs) as address:
        # Given the clients of a run
        tab.goto(f"{address}/runs/troubled/clients")
        rows = tab.locator("#clients tbody tr")
        expect(rows).to_have_count(25)
        # When a part of a name is typed, then those that have it are left, and the field keeps the focus
        tab.get_by_role("searchbox").press_sequentially("vanished")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("carl")
        expect(tab.get_by_role("searchbox")).to_be_focused()
        # And the address can be handed on
        assert "q=vanished" in tab.url
        tab.get_by_role("searchbox").fill("")
        tab.get_by_label("show").select_option("late")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("dora")


def test_everything_is_reached_by_the_keyboard(runs: Path, tab: Page) -> None:
    with served(runs) as address:
        tab.goto(f"{address}/runs/ended")
        # When tab is pressed once, then the content can be jumped to
        tab.keyboard.press("Tab")
        expect(tab.get_by_text("Skip to the content")).to_be_focused()
        # And a chart that has the focus is read by arrow keys
        chart = tab.get_by_role("img", name=re.compile("^loss by round"))
        chart.focus()
        tab.keyboard.press("ArrowLeft")
        expect(tab.locator("#curves figure").first.locator("output")).to_contain_text("round 1: ")
        # And a column is sorted by Enter
        tab.goto(f"{address}/runs/ended/clients")
        tab.get_by_role("link", name="examples").focus()
        tab.keyboard.press("Enter")
        expect(tab.locator("th[aria-sort=ascending]")).to_have_text("examples")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(runs: Path, browser: Browser, scheme: str, tmp_path: Path) -> None:
    # Given every screen, when axe looks at it, then nothing keeps anybody from using it, and it fits a small screen
    axe = Axe()
    found = {}
    context = browser.new_context(color_scheme=scheme, viewport={"width": 400, "height": 800}, bypass_csp=True)  # type: ignore[arg-type]
    token = tmp_path / "token"
    with served(runs, 0, "--control", "--token-file", str(token)) as address:
        page = context.new_page()
        page.goto(f"{address}/?token={token.read_text().strip()}")
        for path in SCREENS:
            page.goto(address + path)
            expect(page.locator("h1")).to_be_visible()
            expect(page.locator("#connection")).to_have_text("" if path == "/new" else "live")
            results = axe.run(page)
            assert results.response["passes"], path
            if results.violations_count:
                found[path] = results.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth") <= 400, path
        context.close()
    assert found == {}


def test_a_run_is_started_and_stopped_from_the_page(tmp_path: Path, tab: Page) -> None:
    # Given a page that may start runs
    token, runs = tmp_path / "token", tmp_path / "runs"
    runs.mkdir()
    with served(runs, 0, "--control", "--token-file", str(token)) as address:
        tab.goto(f"{address}/?token={token.read_text().strip()}")
        tab.get_by_role("link", name="Start a run").click()
        # When an option is wrong, then that is said at it
        tab.get_by_label("--rounds", exact=True).fill("many")
        tab.get_by_role("button", name="Start").click()
        expect(tab.locator("[aria-invalid]")).to_have_value("many")
        # When it is right, then the run begins, and ends when it is told to
        tab.get_by_label("--rounds", exact=True).fill("100000")
        tab.get_by_role("button", name="Start").click()
        expect(tab.locator("h1")).to_contain_text("running")
        expect(tab.locator("#rounds tbody tr").first).to_be_visible()
        tab.get_by_role("button", name="Stop").click()
        expect(tab.locator("h1")).to_contain_text("interrupted")
        expect(tab.get_by_role("button", name="Resume")).to_be_visible()


def test_what_a_client_says_runs_nowhere(runs: Path, tab: Page) -> None:
    with served(runs) as address:
        for path in ("/runs/troubled", "/runs/troubled/rounds/1", "/runs/troubled/clients"):
            tab.goto(address + path)
            expect(tab.locator("#connection")).to_have_text("live")
            # Given a reason with a script, then it is there as text
            expect(tab.get_by_text(ATTACK).first).to_be_attached()
            assert "taken" not in tab.title()
            assert tab.locator("main script").count() == 0


def test_ten_thousand_rounds_are_opened(tmp_path: Path, tab: Page) -> None:
    # Given a run of ten thousand rounds
    write_long(tmp_path / "long", 10_000, "anna", "bert")
    # When it is opened, then all of it is there, in curves of few points
    with served(tmp_path) as address:
        tab.goto(f"{address}/runs/long")
        expect(tab.locator("#head")).to_contain_text("10000 of 10000")
        expect(tab.locator("#head")).not_to_contain_text("being read")
        assert len(tab.locator("#curves path.line").first.get_attribute("d") or "") < 10_000


def opened(number: int) -> RoundOpened:
    """The opening of a round."""
    return RoundOpened(round_number=number, cohort=("anna", "bert"))
