"""The plot of a run: each metric by round, beginning with the initial model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.observers import ObserverContext
from orchestrator.observers.events import Event, ModelEvaluated, RunEnded
from orchestrator.store.records import RoundRecord
from orchestrator.store.run_folder import RunFolder
from tasks.files import replacing
from tasks.metrics import Metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HELD_OUT, _CLIENTS, _TRAINING = "held-out data", "clients' held-out data", "clients' training"
_WORST, _RESULTS = "the worst client's", "all clients' results"
_STYLES: Mapping[str, Mapping[str, Any]] = {
    _HELD_OUT: {"color": "tab:blue", "marker": "o"},
    _CLIENTS: {"color": "tab:orange", "marker": "D", "linestyle": "--"},
    _WORST: {"color": "tab:orange", "marker": "v", "linestyle": ":"},
    _TRAINING: {"color": "tab:grey", "marker": ".", "linestyle": ":"},
    _RESULTS: {"color": "tab:green", "marker": "s", "linestyle": "-."},
}
MOST_PANELS = 12
"""Metrics that are drawn, a panel each."""
_COLUMNS = 3
_TRAIN = "train_"
Points = Sequence[tuple[int, float]]
"""Rounds and values, by round; the initial model's round is 0."""
Panels = Mapping[str, Mapping[str, Points]]
"""Name of a metric -> on what it was measured -> points."""


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
        with replacing(self._folder.plot, durable=False) as temporary:
            figure_of_run(self._folder, history).savefig(temporary, format="png")
        self._drawn = history


def figure_of(history: Sequence[RoundRecord], initial: Metrics | None = None, title: str = "") -> Figure:
    """Return a figure of each metric by round, a panel each. It has no window: a notebook shows it, a file takes it.

    Args:
        history: The closed rounds.
        initial: Metrics of the initial model on the orchestrator's held-out data.
        title: The plot's title.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from orchestrator.observers.figure import DPI, ShownFigure  # noqa: PLC0415  # slow to import, and needed at the end

    panels = panels_of(history, initial or {})
    shown = dict(list(panels.items())[:MOST_PANELS])
    columns = min(len(shown), _COLUMNS)
    rows = -(-len(shown) // columns)
    figure = ShownFigure((9 if columns < _COLUMNS else 12, 3.6 * rows), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    more = f" ({len(panels) - len(shown)} more metrics in the history)" if len(panels) > len(shown) else ""
    figure.suptitle(title + more, fontsize="medium", parse_math=False)
    failed = [record.round_number for record in history if record.status == "failed"]
    for axis, (name, lines) in zip(axes.flat, shown.items(), strict=False):
        _draw_metric(axis, lines, failed, name)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    return figure


def figure_of_run(folder: RunFolder, history: Sequence[RoundRecord]) -> Figure:
    """Return a figure of a history of the run in a folder; see :func:`figure_of`."""
    config = folder.config()
    title = f"{config.algorithm} on {config.workload}, run {config.run_id}"
    return figure_of(history, folder.initial().metrics, title)


def panels_of(history: Sequence[RoundRecord], initial: Metrics) -> Panels:
    """Return what to draw: the loss first, then the other metrics in the order in which they appear.

    What clients say of their training, like ``train_loss``, is beside the metric of the same name without ``train_``.
    """
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {"loss": {}}
    for measured, number, metrics in _measured(history, initial):
        for name, value in metrics.items():
            panel = panels.setdefault(name.removeprefix(_TRAIN) if measured == _TRAINING else name, {})
            panel.setdefault(measured, []).append((number, value))
    return {name: lines for name, lines in panels.items() if lines} or panels


def _measured(history: Sequence[RoundRecord], initial: Metrics) -> Iterator[tuple[str, int, Metrics]]:
    """Yield on what metrics were measured, and after which round."""
    yield _HELD_OUT, 0, initial
    for record in history:
        yield _HELD_OUT, record.round_number, record.metrics
        yield _CLIENTS, record.round_number, record.client_metrics
        worst = {name: spread.worst for name, spread in record.client_spread.items() if spread.worst is not None}
        yield _WORST, record.round_number, worst
        yield _TRAINING, record.round_number, record.train_metrics
        yield _RESULTS, record.round_number, record.single_results


def _draw_metric(axis: Any, lines: Mapping[str, Points], failed: Sequence[int], name: str) -> None:
    for measured, points in sorted(lines.items(), key=lambda line: list(_STYLES).index(line[0])):
        axis.plot([x for x, _ in points], [y for _, y in points], markersize=4, label=measured, **_STYLES[measured])
    for round_number in failed:
        axis.axvline(round_number, color="grey", linestyle=":", linewidth=1)
    if points := lines.get(_HELD_OUT) or next(iter(lines.values()), ()):
        last_round, last = points[-1]
        axis.annotate(f"{last:.4g}", (last_round, last), textcoords="offset points", xytext=(-4, 8), ha="right")
    axis.set_xlabel("round")
    axis.set_ylabel(name, parse_math=False)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    axis.margins(y=0.15)
    if lines:
        axis.legend(fontsize="small")
