"""The plot of a run: loss and accuracy by round."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.records import RoundRecord, shown_metrics

_COLOURS = {"accuracy": "tab:blue", "loss": "tab:red"}


def draw(history: Sequence[RoundRecord], path: Path) -> None:
    """Draw loss and accuracy, if there is one, on the orchestrator's held-out data by round into a PNG file."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib as mpl  # noqa: PLC0415  # slow to import, and only needed at the end

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    names = sorted(shown_metrics(record.metrics for record in history))
    figure, axes = plt.subplots(1, len(names), figsize=(9, 3.6), layout="constrained", squeeze=False)
    try:
        for axis, name in zip(axes[0], names, strict=True):
            _draw_metric(axis, history, name, _COLOURS[name])
        figure.savefig(path, dpi=120)
    finally:
        plt.close(figure)


def _draw_metric(axis: Any, history: Sequence[RoundRecord], name: str, colour: str) -> None:
    points = [(record.round_number, record.metrics[name]) for record in history if name in record.metrics]
    axis.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=4, color=colour)
    for record in history:
        if record.status == "failed":
            axis.axvline(record.round_number, color="grey", linestyle=":", linewidth=1)
    if points:
        last_round, last = points[-1]
        axis.annotate(f"{last:.4g}", (last_round, last), textcoords="offset points", xytext=(-4, 8), ha="right")
    axis.set_xlabel("round")
    axis.set_ylabel(f"{name} on held-out data")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    axis.margins(y=0.15)
