"""The command ``python -m celeriac.workloads.show_split``: draws how many examples of each label every client gets."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigurationError, FederationError
from tasks.spec import WorkloadSpec
from tasks.user_code import checked_client_data, user_code
from tasks.workload import DataSource, Part, Workload, load_workload

MAX_ROWS = 20
"""Clients with a row of their own in the table."""
MAX_LABELS = 20
"""Columns, and colours, for labels; with more labels the last column sums up the rest."""
REST = "others"
UNLABELLED = "examples"
"""The only column where examples have no labels."""
MAX_TICKS = 25
"""Most numbers on the axis of clients, beside the first."""

Counts = npt.NDArray[np.int64]
"""Training examples, shape ``(clients, labels)``."""


@click.command(context_settings={"max_content_width": 110, "show_default": True})
@click.option("--workload", default="digits", metavar="NAME[,KEY=VALUE…]", help="The workload, as at the orchestrator.")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder with the workload's data.")
@click.option("--split", metavar="NAME[:PARAMETER]", help="Short for the parameter split in --workload.")
@click.option("--clients", "num_clients", default=10, type=click.IntRange(1), metavar="N", help="Number of clients.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default="split.png", metavar="FILE", help="The image.")
def main(workload: str, data: Path | None, split: str | None, num_clients: int, output: Path) -> None:
    """Draw how many training examples of each label every client has, and print a table of it."""
    try:
        spec = WorkloadSpec.parse(workload)
        if split is not None:
            spec = spec.with_parameter("split", split)
        labels, counts = count_labels(str(spec), data, num_clients)
        draw(labels, counts, f"{spec}, {num_clients} clients", output)
    except FederationError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(table(labels, counts))
    click.echo(f"drawn: {output}")


def count_labels(spec: str, folder: Path | None, num_clients: int) -> tuple[list[str], Counts]:
    """Return all labels in order, and how many training examples of each every client has.

    Raises:
        ConfigurationError: If there is no such workload, its data is missing, or the split can't be made.
    """
    workload = load_workload(spec)
    clients = [_labels(workload, DataSource(folder, Part(index, num_clients))) for index in range(num_clients)]
    labels = sorted({label for client in clients for label in client}, key=lambda label: (len(label), label))
    counts = np.array([[client.get(label, 0) for label in labels] for client in clients], dtype=np.int64)
    return _put_rest_together(labels, counts)


def _labels(workload: Workload, source: DataSource) -> Mapping[str, int]:
    with user_code("client_data()"):
        data = checked_client_data(workload.client_data(source))
        return data.labels or {UNLABELLED: data.num_train}


def _put_rest_together(labels: list[str], counts: Counts) -> tuple[list[str], Counts]:
    if len(labels) <= MAX_LABELS:
        return labels, counts
    kept = MAX_LABELS - 1
    rest = counts[:, kept:].sum(axis=1, keepdims=True)
    return [*labels[:kept], REST], np.hstack([counts[:, :kept], rest])


def table(labels: Sequence[str], counts: Counts) -> str:
    """Return a table with a row for each of the first twenty clients, a row of sums, and three lines of ranges."""
    rows = [["client", *labels, "all"]]
    rows += [[str(i + 1), *map(str, row), str(row.sum())] for i, row in enumerate(counts[:MAX_ROWS])]
    if len(counts) > MAX_ROWS:
        rows.append(["…"] * len(rows[0]))
    rows.append(["all", *map(str, counts.sum(axis=0)), str(counts.sum())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    sizes, present = counts.sum(axis=1), (counts > 0).sum(axis=1)
    largest = counts[:, : None if labels[-1] != REST else -1].max(axis=1) / np.maximum(sizes, 1)
    ranges = [("training examples", sizes), ("labels", present), ("share of the largest label", largest.round(2))]
    return "\n".join([*lines, "", *(_range(what, values.tolist()) for what, values in ranges)])


def _range(what: str, values: Sequence[float]) -> str:
    return f"{what} a client: {min(values):.9g} to {max(values):.9g}, median {median(values):.9g}"


def draw(labels: Sequence[str], counts: Counts, title: str, path: Path) -> None:
    """Draw a bar for each client, stacked by label, into an image file: examples above, shares below.

    Raises:
        ConfigurationError: If the file can't be written, or its suffix is no image format.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib as mpl  # noqa: PLC0415  # slow to import

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    width = float(np.clip(4 + 0.25 * len(counts), 7, 16))
    figure, (above, below) = plt.subplots(2, 1, figsize=(width, 7), sharex=True, layout="constrained")
    try:
        colours = mpl.colormaps["tab10" if len(labels) <= 10 else "tab20"]
        _draw_bars(above, labels, counts, colours)
        _draw_bars(below, labels, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), colours)
        _name_axes(above, below, len(counts))
        figure.suptitle(title)
        figure.legend(*_from_top(above), title="label", loc="outside right center", frameon=False)
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"-o {path}: the image can't be written: {error}") from None
    finally:
        plt.close(figure)


def _draw_bars(axis: Any, labels: Sequence[str], heights: npt.NDArray[Any], colours: Any) -> None:
    numbers = np.arange(1, len(heights) + 1)
    tops = heights.cumsum(axis=1)
    for index, label in enumerate(labels):
        bottom = tops[:, index] - heights[:, index]
        axis.bar(numbers, heights[:, index], 0.85, bottom=bottom, label=label, color=colours(index), linewidth=0)
    axis.set_ylim(0, 1.04 * tops.max())
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _name_axes(above: Any, below: Any, num_clients: int) -> None:
    above.set_ylabel("training examples")
    above.yaxis.get_major_locator().set_params(integer=True)
    below.set_ylabel("share by label")
    below.set_xlabel("client")
    below.set_xlim(0.4, num_clients + 0.6)
    step = next(step for step in _tick_steps() if num_clients <= MAX_TICKS * step)
    below.set_xticks([1, *range(step, num_clients + 1, step)] if step > 1 else range(1, num_clients + 1))


def _tick_steps() -> Iterator[int]:
    return (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))


def _from_top(axis: Any) -> tuple[list[Any], list[str]]:
    """Return the legend's entries in the order of a bar's pieces, the top one first."""
    handles, labels = axis.get_legend_handles_labels()
    return handles[::-1], labels[::-1]


if __name__ == "__main__":
    main()
