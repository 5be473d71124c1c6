"""What the page costs: a round's time while a real browser follows the run, and how soon a long run is shown.

``python -m benchmarks.page`` runs a federation without a page and with one, turn by turn, and prints medians. The
browser is Debian's Chromium (``make chromium``), on the same machine, so its own work counts as well.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import click
import psutil
from playwright.sync_api import Page, expect

from benchmarks.contender import Case, Limit
from benchmarks.contenders.ours import Ours
from benchmarks.sampling import cpu_s_of
from tests.orchestrator.page.told import write_long
from tests.page_check.conftest import BOUND_S, chromium, served

LIMIT_S = 900.0
"""Seconds that a run may take."""
LOOK_MS = 500.0
_READERS = ("orchestrator.page", "chromium")
"""What is in the command lines of the page's server and of the browser."""
NUM_CLIENTS = 10
"""Clients of each round of the long run."""


@click.command(context_settings={"show_default": True})
@click.option("--clients", default=1000, type=click.IntRange(1), help="Virtual clients of a run.")
@click.option("--rounds", default=6, type=click.IntRange(2), help="Rounds of a run; the first doesn't count.")
@click.option("--turns", default=5, type=click.IntRange(1), help="How often each is done.")
@click.option("--history", default=10_000, type=click.IntRange(1), help="Rounds of the long run.")
def main(clients: int, rounds: int, turns: int, history: int) -> None:
    """Measure a run without a page and with one that is followed, and how soon a long run is shown."""
    without, followed, cpu, shown = [], [], [], []
    for turn in range(1, turns + 1):
        without.append(round_s(clients, rounds))
        seconds, share = followed_round_s(clients, rounds)
        followed.append(seconds)
        cpu.append(share)
        shown.append(seconds_to_show(history))
        click.echo(f"turn {turn}: {without[-1]:.4f} s, followed {seconds:.4f} s; shown after {shown[-1]:.2f} s")
    median, other = statistics.median(without), statistics.median(followed)
    click.echo(
        f"a round of {clients} clients: {median:.4f} s ({min(without):.4f} to {max(without):.4f}), with a page that is "
        f"followed {other:.4f} s ({min(followed):.4f} to {max(followed):.4f}), {100 * (other / median - 1):+.1f} %"
    )
    click.echo(f"page and browser take {1000 * statistics.median(cpu):.0f} ms a second of one core meanwhile")
    click.echo(f"a run of {history} rounds is shown after {statistics.median(shown):.2f} s (up to {max(shown):.2f} s)")


def round_s(clients: int, rounds: int) -> float:
    """Return the median seconds of a run's rounds but the first, the first included in ``rounds``."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return _median_s(clients, rounds, Path(folder))


def followed_round_s(clients: int, rounds: int) -> tuple[float, float]:
    """Return the same of a run that is open in a browser, and the CPU seconds a second of page and browser."""
    is_open, is_over = threading.Event(), threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        served(Path(folder)) as address,
        ThreadPoolExecutor(1) as pool,
    ):
        reader = pool.submit(_follow, address, is_open, is_over)
        is_open.wait(BOUND_S)
        try:
            seconds = _median_s(clients, rounds, Path(folder))
        finally:
            is_over.set()
        return seconds, reader.result(BOUND_S)


def _median_s(clients: int, rounds: int, folder: Path) -> float:
    outcome = Ours(shared=True).run(Case(clients, 0.01), rounds, folder, Limit(LIMIT_S))
    return statistics.median(outcome.rounds_s[1:])


def _follow(address: str, is_open: threading.Event, is_over: threading.Event) -> float:
    """Open the first run that appears, and follow it; return the CPU seconds a second of page and browser in rounds."""
    with chromium() as browser:
        tab = browser.new_page()
        tab.goto(address)
        is_open.set()
        tab.get_by_role("link", name="run").click(timeout=LIMIT_S * 1000)
        tab.locator("#cohort").wait_for(timeout=LIMIT_S * 1000)
        first = last = time.perf_counter(), _cpu_s()
        while not is_over.is_set():
            tab.wait_for_timeout(LOOK_MS)
            with suppress(psutil.Error):  # what the run has started ends with it
                last = time.perf_counter(), _cpu_s()
        return (last[1] - first[1]) / (last[0] - first[0])


def _cpu_s() -> float:
    """Return the CPU seconds so far of the page's server and of the browser."""
    children = psutil.Process().children(recursive=True)
    return sum(cpu_s_of(each) for each in children if any(word in " ".join(each.cmdline()) for word in _READERS))


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
