"""What the page costs: a round's time while a real browser follows the run, and how soon a long run is shown.

``python -m benchmarks.page`` runs a federation without a page and with one, turn by turn, and prints medians. The
browser is Debian's Chromium (``make chromium``), on the same machine, so its own work counts as well.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import click
from playwright.sync_api import Page, expect

from benchmarks.contender import Case, Limit
from benchmarks.contenders.ours import Ours
from tests.orchestrator.page.told import write_long
from tests.page_check.conftest import BOUND_S, chromium, served

LIMIT_S = 900.0
"""Seconds that a run may take."""
NUM_CLIENTS = 10
"""Clients of each round of the long run."""


@click.command(context_settings={"show_default": True})
@click.option("--clients", default=1000, type=click.IntRange(1), help="Virtual clients of a run.")
@click.option("--rounds", default=6, type=click.IntRange(2), help="Rounds of a run; the first doesn't count.")
@click.option("--turns", default=5, type=click.IntRange(1), help="How often each is done.")
@click.option("--history", default=10_000, type=click.IntRange(1), help="Rounds of the long run.")
def main(clients: int, rounds: int, turns: int, history: int) -> None:
    """Measure a run without a page and with one that is followed, and how soon a long run is shown."""
    without, followed, shown = [], [], []
    for turn in range(1, turns + 1):
        without.append(round_s(clients, rounds, is_followed=False))
        followed.append(round_s(clients, rounds, is_followed=True))
        shown.append(seconds_to_show(history))
        click.echo(f"turn {turn}: {without[-1]:.4f} s, followed {followed[-1]:.4f} s; shown after {shown[-1]:.2f} s")
    median, other = statistics.median(without), statistics.median(followed)
    click.echo(
        f"a round of {clients} clients: {median:.4f} s ({min(without):.4f} to {max(without):.4f}), with a page that is "
        f"followed {other:.4f} s ({min(followed):.4f} to {max(followed):.4f}), {100 * (other / median - 1):+.1f} %"
    )
    click.echo(f"a run of {history} rounds is shown after {statistics.median(shown):.2f} s (up to {max(shown):.2f} s)")


def round_s(clients: int, rounds: int, *, is_followed: bool) -> float:
    """Return the median seconds of a run's rounds but the first.

    Args:
        clients: Its clients, which train next to nothing.
        rounds: Complete rounds, the first included.
        is_followed: Whether the run is open in a browser.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if not is_followed:
            return _median_s(clients, rounds, Path(folder))
        with served(Path(folder)) as address, _following(address):
            return _median_s(clients, rounds, Path(folder))


def _median_s(clients: int, rounds: int, folder: Path) -> float:
    outcome = Ours(shared=True).run(Case(clients, 0.01), rounds, folder, Limit(LIMIT_S))
    return statistics.median(outcome.rounds_s[1:])


@contextmanager
def _following(address: str) -> Iterator[None]:
    """Have a browser open the first run that appears, and follow it for as long as the block lasts."""
    is_open, is_over = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(_follow, address, is_open, is_over)
        is_open.wait(BOUND_S)
        try:
            yield
        finally:
            is_over.set()
        reader.result(BOUND_S)


def _follow(address: str, is_open: threading.Event, is_over: threading.Event) -> None:
    with chromium() as browser:
        tab = browser.new_page()
        tab.goto(address)
        is_open.set()
        tab.get_by_role("link", name="run").click(timeout=BOUND_S * 1000)
        while not is_over.is_set():
            tab.wait_for_timeout(100)


def seconds_to_show(num_rounds: int) -> float:
    """Return the seconds until a browser shows the curves and the table of a run that a server has not read yet."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        write_long(Path(folder) / "long", num_rounds, *(f"client-{number}" for number in range(NUM_CLIENTS)))
        with served(Path(folder)) as address, chromium() as browser:
            tab = browser.new_page()
            began = time.perf_counter()
            tab.goto(f"{address}/runs/long")
            _expect_whole(tab, num_rounds)
            return time.perf_counter() - began


def _expect_whole(tab: Page, num_rounds: int) -> None:
    expect(tab.locator("#head")).to_contain_text(f"{num_rounds} of {num_rounds}", timeout=BOUND_S * 1000)
    expect(tab.locator("#head")).not_to_contain_text("being read", timeout=BOUND_S * 1000)
    expect(tab.locator("#curves figure").first).to_be_visible()
    expect(tab.locator("#rounds tbody tr").first).to_be_visible()


if __name__ == "__main__":
    main()
