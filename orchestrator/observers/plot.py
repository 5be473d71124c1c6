"""The plot of a run: loss and accuracy by round, beginning with the initial model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.observers import ObserverContext
from orchestrator.observers.events import Event, ModelEvaluated, RunEnded
from orchestrator.store.records import ACCEPTED, RoundRecord, shown_metrics
from orchestrator.store.run_folder import RunFolder
from tasks.metrics import Metrics

_COLOURS = {"accuracy": "tab:blue", "loss": "tab:red", "train_loss": "tab:red"}
_LABELS = {
    "accuracy": "accuracy on held-out data",
    "loss": "loss on held-out data",
    "train_loss": "train loss of the clients, by examples",
}
Points = Mapping[str, Sequence[tuple[int, float]]]
"""Name of a metric -> rounds and values, by round; the initial model's round is 0."""


class Plot:
    """Draws ``plot.png`` from the history: when the last model is evaluated, or when the run ends."""

    def __init__(self, context: ObserverContext) -> None:
        self._folder = RunFolder(context.folder)
        self._config = context.config
        self._drawn: list[RoundRecord] = []

    def observe(self, event: Event) -> None:
        """Draw, if nothing more is to come."""
        is_last = isinstance(event, ModelEvaluated) and event.round_number == self._config.rounds
        if is_last or isinstance(event, RunEnded):
            self._draw()

    def close(self) -> None:
        """Nothing is kept."""

    def _draw(self) -> None:
        history = self._folder.history()
        if history == self._drawn:
            return
        title = f"{self._config.algorithm} on {self._config.workload}, run {self._config.run_id}"
        draw(history, self._folder.plot, self._folder.initial().metrics, title)
        self._drawn = history


def draw(history: Sequence[RoundRecord], path: Path, initial: Metrics | None = None, title: str = "") -> None:
    """Draw loss and accuracy on the orchestrator's held-out data, by round, into a PNG file.

    If there is neither, it draws the clients' train loss.

    Args:
        history: The closed rounds.
        path: The file.
        initial: Loss and accuracy of the initial model.
        title: The plot's title.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib as mpl  # noqa: PLC0415  # slow to import, and only needed at the end

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    points = points_of(history, initial or {})
    figure, axes = plt.subplots(1, len(points), figsize=(9, 3.6), layout="constrained", squeeze=False)
    try:
        figure.suptitle(title, fontsize="medium", parse_math=False)
        failed = [record.round_number for record in history if record.status == "failed"]
        for axis, name in zip(axes[0], sorted(points), strict=True):
            _draw_metric(axis, points[name], failed, name)
        figure.savefig(path, dpi=120)
    finally:
        plt.close(figure)


def points_of(history: Sequence[RoundRecord], initial: Metrics) -> Points:
    """Return the points to draw: loss and accuracy on held-out data, or without these the clients' train loss."""
    rounds = [(0, initial), *((record.round_number, record.metrics) for record in history)]
    train_losses = [(record.round_number, loss) for record in history if (loss := train_loss(record)) is not None]
    if train_losses and not any(metrics for _, metrics in rounds):
        return {"train_loss": train_losses}
    return {
        name: [(number, metrics[name]) for number, metrics in rounds if name in metrics]
        for name in shown_metrics(metrics for _, metrics in rounds)
    }


def train_loss(record: RoundRecord) -> float | None:
    """Return the mean train loss of a round's accepted updates, weighted by examples; None if none reports it."""
    told = [
        (response.num_examples, response.metrics["train_loss"])
        for response in record.responses.values()
        if response.status in ACCEPTED and "train_loss" in response.metrics
    ]
    num_examples = sum(number for number, _ in told)
    return sum(number * loss for number, loss in told) / num_examples if num_examples else None


def _draw_metric(axis: Any, points: Sequence[tuple[int, float]], failed: Sequence[int], name: str) -> None:
    axis.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=4, color=_COLOURS[name])
    for round_number in failed:
        axis.axvline(round_number, color="grey", linestyle=":", linewidth=1)
    if points:
        last_round, last = points[-1]
        axis.annotate(f"{last:.4g}", (last_round, last), textcoords="offset points", xytext=(-4, 8), ha="right")
    axis.set_xlabel("round")
    axis.set_ylabel(_LABELS[name])
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    axis.margins(y=0.15)
