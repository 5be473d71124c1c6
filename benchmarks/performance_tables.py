"""Tables and a plot of the performance benchmark's figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

from benchmarks.contender import Case, Outcome
from benchmarks.contenders.by_name import CONTENDERS, VARIANTS
from benchmarks.pasting import markdown
from benchmarks.performance_results import Outcomes, Results, median_of, ratios, reference

COLUMNS = (
    "",
    "s a round",
    "ratio",
    "CPU, ms",
    "server, MB",
    "all, MB",
    "broker, MB in + out",
    "turns × rounds",
)
ROLES = {"orchestrator": "orchestrator", "broker": "server", "worker": "own worker", "clients": "clients' workers"}
"""Role -> its name in the table of where time goes."""
WHERE = {Case(2, 0.4): "ours", Case(100, 0.4): "ours-virtual", Case(1_000, 0.4): "ours-virtual"}
"""What that table is about."""


def machine(results: Results) -> str:
    """Return in a line what all of it was run on, which commit, and when."""
    said = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    return f"{results.began} to {results.ended}: {said}."


def all_tables(results: Results) -> str:
    """Return a table for each case, with a heading."""
    return "\n\n".join(f"### {case.title}\n\n{table(results.cases[case])}" for case in shown(results))


def shown(results: Results) -> list[Case]:
    """Return the cases that have contenders to be compared, small ones first, and MNIST last."""
    cases = [case for case, contenders in results.cases.items() if "ours-virtual-broker" not in contenders]
    return sorted(cases, key=lambda case: (case.trains, case))


def table(contenders: Mapping[str, Outcomes]) -> str:
    """Return a case's figures as a Markdown table, a row a contender; medians over its rounds, or its turns."""
    compared, quotients = reference(contenders), ratios(contenders)
    header = [f"of `{compared}`" if name == "ratio" else name for name in COLUMNS]
    names = [name for name in CONTENDERS if name in contenders]
    return markdown(header, [[f"`{name}`", *_cells(contenders[name], quotients.get(name, []))] for name in names])


def _cells(outcomes: Outcomes, quotients: Sequence[float]) -> list[str]:
    done = [outcome for outcome in outcomes if not outcome.error]
    if not done:
        return [f"did not complete: {outcomes[-1].error}", *["–"] * (len(COLUMNS) - 2)]
    rounds = [seconds for outcome in done for seconds in outcome.rounds_s[1:]]
    num_failed = len(outcomes) - len(done)
    failed = f", {num_failed} of {len(outcomes)} did not complete" if num_failed else ""
    traffic = [_median(done, attrgetter("broker_in_mb")), _median(done, attrgetter("broker_out_mb"))]
    return [
        f"**{_digits(statistics.median(rounds))}** ({_spread(rounds)})",
        f"{_digits(statistics.median(quotients))} ({_spread(quotients)})" if quotients else "–",
        _median(done, lambda outcome: sum(outcome.cpu_ms.values()) or None),
        _median(done, lambda outcome: outcome.above_idle_mb("server") or None),
        _median(done, lambda outcome: outcome.peak_mb.get("all")),
        "–" if "–" in traffic else " + ".join(traffic),
        f"{len(done)} × {len(done[0].rounds_s) - 1}{failed}",
    ]


def _median(outcomes: Outcomes, figure: Callable[[Outcome], float | None]) -> str:
    found = median_of([figure(outcome) for outcome in outcomes])
    return "–" if found is None else _digits(found)


def _spread(values: Sequence[float]) -> str:
    return f"{_digits(min(values))}–{_digits(max(values))}"


def _digits(value: float) -> str:
    """Return a number with three digits that count, and no fewer than those before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.4f}"


def processors(results: Results) -> str:
    """Return who takes how much processor time for a round, and the broker's commands, as a Markdown table."""
    found = {
        case: [outcome for outcome in results.cases[case][name] if not outcome.error]
        for case, name in WHERE.items()
        if name in results.cases.get(case, {})
    }
    figures: dict[str, Callable[[Outcome], float | None]] = {
        **{f"{name}, ms": partial(_cpu_ms, role) for role, name in ROLES.items()},
        "commands of the broker": attrgetter("commands"),
    }
    rows = [[name, *(_median(each, figure) for each in found.values())] for name, figure in figures.items()]
    return markdown(["", *(case.title for case in found)], rows)


def _cpu_ms(role: str, outcome: Outcome) -> float | None:
    return outcome.cpu_ms.get(role)


def draw(results: Results, path: Path) -> None:
    """Draw seconds a round and memory, a group of bars a case and a bar a contender, on logarithmic scales."""
    cases = [case for case in shown(results) if not case.busy and not case.trains]
    compared = [name for name in CONTENDERS if name not in VARIANTS]
    names = [name for name in compared if any(name in results.cases[case] for case in cases)]
    figure, panels = plt.subplots(2, 1, figsize=(13, 9), sharex=True, layout="constrained")
    figures: tuple[tuple[str, Callable[[Outcome], float | None]], ...] = (
        ("seconds a round", Outcome.median_s),
        ("MB of all processes at the peak", lambda outcome: outcome.peak_mb.get("all")),
    )
    width = 0.9 / max(1, len(names))
    for panel, (label, figure_of) in zip(panels, figures, strict=True):
        for number, name in enumerate(names):
            heights = [_height(results.cases[case].get(name, ()), figure_of) for case in cases]
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


def _height(outcomes: Outcomes, figure_of: Callable[[Outcome], float | None]) -> float:
    return median_of([figure_of(outcome) for outcome in outcomes]) or math.nan
