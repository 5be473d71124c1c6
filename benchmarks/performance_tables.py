"""Tables and a plot of the performance benchmark's figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

from benchmarks.contender import Case, Outcome
from benchmarks.contenders import CONTENDERS
from benchmarks.pasting import markdown
from benchmarks.performance_results import MNIST, Results, Run, ratios, reference
from benchmarks.sampling import SERVER

Runs = Sequence[Run]
COLUMNS = (
    "",
    "s a round",
    "ratio",
    "server, MB above idle",
    "server, MB resident",
    "all, MB above idle",
    "all, MB at the peak",
    "broker, MB in + out a round",
    "rounds",
)


def machines(results: Results) -> str:
    """Return the machines and versions of all sessions, newest first, as a list."""
    return "\n".join(
        f"- {', '.join(f'{name} {value}' for name, value in results.sessions[session].items())}"
        for session in sorted(results.sessions, reverse=True)
    )


def table(contenders: Mapping[str, Runs]) -> str:
    """Return a case's figures as a Markdown table, a row a contender; medians over its rounds, or its runs."""
    compared, quotients = reference(contenders), ratios(contenders)
    header = [f"of `{compared}`" if name == "ratio" else name for name in COLUMNS]
    names = [name for name in CONTENDERS if name in contenders]
    return markdown(header, [[f"`{name}`", *_cells(contenders[name], quotients.get(name))] for name in names])


def _cells(runs: Runs, quotient: float | None) -> list[str]:
    done = [run.outcome for run in runs if not run.outcome.error]
    if not done:
        return [f"did not complete: {runs[-1].outcome.error}", *["–"] * (len(COLUMNS) - 2)]
    rounds = [seconds for outcome in done for seconds in outcome.rounds_s[1:]]
    failed = f", {len(runs) - len(done)} of {len(runs)} runs did not complete" if len(done) < len(runs) else ""
    traffic = [
        _median(done, lambda outcome: outcome.broker_in_mb),
        _median(done, lambda outcome: outcome.broker_out_mb),
    ]
    return [
        f"**{_digits(statistics.median(rounds))}** ({_digits(min(rounds))}–{_digits(max(rounds))})",
        "–" if quotient is None else _digits(quotient),
        _median(done, lambda outcome: outcome.above_idle_mb("server")),
        _median(done, lambda outcome: sum(outcome.resident_mb.get(role, 0.0) for role in SERVER) or None),
        _median(done, lambda outcome: outcome.above_idle_mb("all")),
        _median(done, lambda outcome: outcome.peak_mb.get("all")),
        "–" if "–" in traffic else " + ".join(traffic),
        f"{len(done)} × {len(done[0].rounds_s) - 1}{failed}",
    ]


def _median(outcomes: Sequence[Outcome], figure: Callable[[Outcome], float | None]) -> str:
    found = [value for value in map(figure, outcomes) if value is not None]
    return _digits(statistics.median(found)) if found else "–"


def _digits(value: float) -> str:
    """Return a number with three digits that count, and no fewer than those before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.4f}"


def all_tables(results: Results) -> str:
    """Return a table for each case, with a heading."""
    return "\n\n".join(
        f"### {case.num_clients:,} clients, {case.megabytes:g} MB\n\n{table(results.cases[str(case)])}"
        for case in _sized(results)
    )


def mnist_table(results: Results) -> str:
    """Return what training MNIST's CNN took, as a Markdown table."""
    contenders = results.cases.get(MNIST, {})
    quotients = ratios(contenders, MNIST)
    rows = []
    for name, runs in contenders.items():
        done = [run.outcome for run in runs if not run.outcome.error]
        if done:
            seconds = f"**{_median(done, Outcome.total_s)}**"
            rows.append((f"`{name}`", str(len(done[0].rounds_s)), seconds, _digits(quotients[name])))
        else:
            rows.append((f"`{name}`", "", f"did not complete: {runs[-1].outcome.error}", ""))
    return markdown(("", "rounds", "seconds in all", "of `pytorch`"), rows)


def draw(results: Results, path: Path) -> None:
    """Draw seconds a round and memory, a group of bars a case and a bar a contender, on logarithmic scales."""
    cases = _sized(results)
    names = [name for name in CONTENDERS if any(name in results.cases[str(case)] for case in cases)]
    figure, panels = plt.subplots(2, 1, figsize=(13, 9), sharex=True, layout="constrained")
    figures: tuple[tuple[str, Callable[[Outcome], float | None]], ...] = (
        ("seconds a round", Outcome.median_s),
        ("MB of all processes at the peak", lambda outcome: outcome.peak_mb.get("all")),
    )
    width = 0.9 / max(1, len(names))
    for panel, (label, figure_of) in zip(panels, figures, strict=True):
        for number, name in enumerate(names):
            heights = [_height(results.cases[str(case)].get(name, ()), figure_of) for case in cases]
            places = [index + (number - len(names) / 2 + 0.5) * width for index in range(len(cases))]
            panel.bar(places, heights, width, label=name, color=f"C{number}")
        panel.set(ylabel=label, yscale="log")
        panel.grid(axis="y", alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=9, fontsize=9)
    labels = [f"{case.num_clients:,} clients\n{case.megabytes:g} MB" for case in cases]
    panels[-1].set_xticks(range(len(cases)), labels)
    path.parent.mkdir(exist_ok=True, parents=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _height(runs: Runs, figure_of: Callable[[Outcome], float | None]) -> float:
    found = [value for value in (figure_of(run.outcome) for run in runs) if value]
    return statistics.median(found) if found else math.nan


def _sized(results: Results) -> list[Case]:
    """Return the cases of so many clients and bytes, small ones first."""
    cases = [Case.parse(case) for case in results.cases if case != MNIST]
    return sorted(cases, key=lambda case: (case.num_clients, case.megabytes))
