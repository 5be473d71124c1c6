"""How near the weighted mean and the check for NaN come to the speed of memory: ``make kernel``.

Speed is bytes moved a second: what is read and what is written. Of the mean these are all updates and the result, of a
copy (``np.copyto`` between two arrays that are there) source and destination, of the check the updates. Threads of a
copy have a part each. The mean's result is an array that is there, as the copy's destination is, or a new one, whose
pages the system fills with zeros first. All that a row compares is run by turns, in one process; speeds are medians,
and a share is the median of what it was in each turn.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks.pasting import paste_into
from orchestrator.aggregators import WeightedUpdate
from orchestrator.aggregators.kernel import MeanKernel, mean_kernel
from orchestrator.aggregators.mean import put_mean, weighted_mean
from tasks.arrays import Array, map_file, write_file
from tasks.cores import num_cores
from verification.checks import is_finite

RESULTS = Path(__file__).parent / "results" / "kernel.json"
DOCS = Path(__file__).parents[1] / "docs" / "performance.md"
DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
NUM_UPDATES = 8
SMALL_MB, LARGE_MB = 40, 400
MB = 10**6
NUMPY_TURNS = 3
"""Turns in which NumPy alone averages too: it takes up to fifty times as long."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is averaged: ``num_updates`` arrays of ``megabytes`` each, memory maps of files or in memory."""

    dtype: str
    num_updates: int = NUM_UPDATES
    megabytes: int = SMALL_MB
    is_mapped: bool = True

    def __str__(self) -> str:
        """Return it as it is in the table."""
        kind = "mapped" if self.is_mapped else "in memory"
        return f"{self.dtype}, {self.num_updates} of {self.megabytes} MB, {kind}"


@dataclass(frozen=True, slots=True)
class Row:
    """Speeds in GB/s by what was run, and those of the copy on as many threads; in turns."""

    case: Case
    turns: dict[str, list[float]]

    def speed(self, name: str) -> str:
        """Return the median speed."""
        return f"{statistics.median(self.turns[name]):.1f}" if name in self.turns else "–"

    def with_share(self, name: str, copy: str) -> str:
        """Return the median speed and its share of a copy's."""
        if name not in self.turns:
            return "–"
        share = statistics.median(a / b for a, b in zip(self.turns[name], self.turns[copy], strict=True))
        return f"{self.speed(name)} ({share:.0%})"


def all_cases(*, with_large: bool) -> list[Case]:
    """Return every dtype, and for float32 other places, numbers and sizes too."""
    cases = [Case(dtype) for dtype in DTYPES]
    cases += [Case("float32", is_mapped=False), Case("float32", num_updates=2), Case("float32", num_updates=32)]
    if with_large:
        cases += [Case("float32", megabytes=LARGE_MB, is_mapped=is_mapped) for is_mapped in (True, False)]
    return cases


def measure(case: Case, num_turns: int) -> Row:
    """Run one case."""
    with _updates(case) as updates, ThreadPoolExecutor(1) as one, ThreadPoolExecutor(num_cores()) as all_threads:
        result, kernel = np.zeros_like(updates[0]), mean_kernel(updates[0].dtype)
        weights = [float(100 + k) for k in range(len(updates))]
        weighted = [WeightedUpdate({"w": update}, weight) for update, weight in zip(updates, weights, strict=True)]

        def mean(threads: ThreadPoolExecutor, kernel: MeanKernel | None) -> None:
            put_mean(result, updates, weights, sum(weights), kernel, threads)

        # A copy's arrays are as large in every case: those of a few MB would fit the caches.
        source, destination = np.ones(4 * SMALL_MB * MB, np.uint8), np.zeros(4 * SMALL_MB * MB, np.uint8)
        mean_bytes, copy_bytes = (len(updates) + 1) * result.nbytes, 2 * source.nbytes
        checks = num_turns if result.dtype.kind == "f" else 0
        runs: dict[str, tuple[Callable[[], object], int, int]] = {
            "copy 1": (lambda: _copy(source, destination, one, 1), copy_bytes, num_turns),
            "mean 1": (lambda: mean(one, kernel), mean_bytes, num_turns),
            "finite 1": (lambda: [is_finite(update) for update in updates], mean_bytes - result.nbytes, checks),
            "copy all": (lambda: _copy(source, destination, all_threads, num_cores()), copy_bytes, num_turns),
            "mean all": (lambda: mean(all_threads, kernel), mean_bytes, num_turns),
            "call": (lambda: weighted_mean(weighted), mean_bytes, num_turns),
            "numpy 1": (lambda: mean(one, None), mean_bytes, NUMPY_TURNS),
        }
        for run, _, _ in runs.values():
            run()
        turns: dict[str, list[float]] = {}
        for turn in range(num_turns):
            for name, (run, num_bytes, most_turns) in runs.items():
                if turn < most_turns:
                    turns.setdefault(name, []).append(num_bytes / _seconds(run) / 1e9)
        return Row(case, turns)


@contextmanager
def _updates(case: Case) -> Iterator[list[Array]]:
    """Give updates, in memory or as the maps of files that are in the page cache."""
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        updates = []
        for number in range(case.num_updates):
            update = _numbers(case, generator)
            if case.is_mapped:
                path = Path(folder) / str(number)
                write_file(path, {"w": update})
                update = map_file(path)["w"]
            updates.append(update)
        yield updates


def _numbers(case: Case, generator: np.random.Generator) -> Array:
    dtype = np.dtype(case.dtype)
    length = case.megabytes * MB // dtype.itemsize
    if dtype.kind == "f":
        return generator.standard_normal(length, np.float32).astype(dtype)
    return generator.integers(0, 2 if dtype.kind == "b" else 100, length, np.uint8).astype(dtype)


def _copy(source: Array, destination: Array, threads: ThreadPoolExecutor, num_threads: int) -> None:
    step = -(-source.size // num_threads)
    parts = [slice(start, start + step) for start in range(0, source.size, step)]
    for _ in threads.map(lambda part: np.copyto(destination[part], source[part]), parts):
        pass


def _seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table of Markdown: GB/s, and in brackets the share of the copy on as many threads."""
    one, all_threads = "1 thread", f"{num_cores()} threads"
    columns = [
        *("updates", f"copy, {one}", f"mean, {one}", f"mean by NumPy, {one}", f"NaN check, {one}"),
        *(f"copy, {all_threads}", f"mean, {all_threads}", f"new result, {all_threads}"),
    ]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        cells = [
            row.speed("copy 1"),
            row.with_share("mean 1", "copy 1"),
            row.speed("numpy 1"),
            row.with_share("finite 1", "copy 1"),
            row.speed("copy all"),
            row.with_share("mean all", "copy all"),
            row.with_share("call", "copy all"),
        ]
        lines.append(f"| {row.case} | {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command(context_settings={"show_default": True})
@click.option("--turns", default=15, type=click.IntRange(1), help="How often everything is measured.")
@click.option("--large", is_flag=True, help=f"Updates of {LARGE_MB} MB too: needs 8 GB of memory.")
@click.option("--docs", is_flag=True, help="Paste the table into docs/performance.md too.")
def main(turns: int, large: bool, docs: bool) -> None:
    """Measure every case, print a table, and write all turns to benchmarks/results/kernel.json."""
    rows = []
    for case in all_cases(with_large=large):
        rows.append(measure(case, turns))
        click.echo(f"{case}: done", err=True)
    text = table(rows)
    click.echo(text)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    if docs:
        paste_into(DOCS, {"kernel": text})


if __name__ == "__main__":
    main()
