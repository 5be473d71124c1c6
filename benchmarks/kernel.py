"""The CPU time that a mean takes for each update, in machine code and in NumPy, by dtype: ``make kernel``.

Each row's entries are run by turns in one process; figures are medians. CPU time counts other programs' load little.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np

from benchmarks.pasting import paste_into
from celeriac.aggregators.blocks import add_block
from celeriac.aggregators.kernel import LARGE_BYTES, adder
from celeriac.aggregators.mean import put_mean

DOCS = Path(__file__).parents[1] / "docs" / "performance.md"
DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8")
NUM_UPDATES = 8
UPDATE_BYTES = 40 * 10**6


def measure(dtype: np.dtype[np.generic], num_turns: int) -> list[float]:
    """Return milliseconds of CPU for each update: to copy it, and to average it in machine code and in NumPy."""
    numbers = np.random.default_rng(0).standard_normal((NUM_UPDATES, UPDATE_BYTES // dtype.itemsize), np.float32)
    updates = list((100 * numbers).astype(dtype) if dtype.kind == "f" else (10 * abs(numbers)).astype(dtype))
    result, weights = np.zeros_like(updates[0]), [float(100 + k) for k in range(NUM_UPDATES)]
    with ThreadPoolExecutor(1) as thread:
        runs: list[Callable[[], object]] = [
            lambda: [np.copyto(result, update) for update in updates],
            lambda: put_mean(result, updates, weights, sum(weights), adder(dtype, LARGE_BYTES), thread),
            lambda: put_mean(result, updates, weights, sum(weights), add_block, thread),
        ]
        turns = [[_milliseconds(run) / NUM_UPDATES for run in runs] for _ in range(num_turns + 1)]
    return [statistics.median(times) for times in zip(*turns[1:], strict=True)]


def _milliseconds(run: Callable[[], object]) -> float:
    begin = time.process_time()
    run()
    return 1e3 * (time.process_time() - begin)


@click.command(context_settings={"show_default": True})
@click.option("--turns", default=7, type=click.IntRange(1), help="How often everything is measured.")
@click.option("--docs", is_flag=True, help="Paste the table into docs/performance.md too.")
def main(turns: int, docs: bool) -> None:
    """Measure every dtype and print a table."""
    lines = ["| updates of 40 MB | a copy, ms | mean, ms | mean in NumPy, ms |", "|---|---|---|---|"]
    for name in DTYPES:
        cells = " | ".join(f"{each:.1f}" for each in measure(np.dtype(name), turns))
        lines.append(f"| {name} | {cells} |")
        click.echo(lines[-1], err=True)
    text = "\n".join(lines)
    click.echo(text)
    if docs:
        paste_into(DOCS, {"kernel": text})


if __name__ == "__main__":
    main()
