"""What a federated round costs: this project, Flower, and what neither can go below; and how far one server goes.

``make bench`` runs the cases of ``PLANS``, in each the contenders turn by turn, measures unit costs, and keeps all
figures in ``benchmarks/results/performance.json``; with ``--docs`` it writes docs/performance.md and docs/scaling.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks import many_clients, scaling, unit_costs
from benchmarks.contender import Case, DidNotCompleteError, Limit, Outcome
from benchmarks.contenders import flower
from benchmarks.contenders.by_name import CONTENDERS
from benchmarks.machine import describe
from benchmarks.pasting import paste_into
from benchmarks.performance_results import Results
from benchmarks.performance_tables import all_tables, draw, machine, processors
from tasks.errors import FederationError

DOCS = Path(__file__).parents[1] / "docs"
PLOT = DOCS / "images" / "performance.png"
LIMIT_S = 900.0
"""Seconds that a contender may take for a turn."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a case is run: in how many turns, and contender -> complete rounds of a turn, the first included."""

    turns: int
    rounds: Mapping[str, int]


CNN = Case(100, 6.65, trains="mnist-cnn")
PLANS: Mapping[Case, Plan] = {
    Case(2, 0.4): Plan(5, {
        "ours": 51, "ours-broker": 51, "ours-virtual": 51, "chord": 51, "floor": 51, "floor-tcp": 51,
        "flower-legacy": 51, "flower-superlink": 3, "flower-simulation": 21,
    }),
    Case(2, 0.4, busy=2): Plan(5, {"ours": 51, "chord": 51, "flower-legacy": 51}),
    Case(100, 0.4): Plan(5, {
        "ours-virtual": 21, "ours-scaffold": 11, "ours-norm": 11, "ours-int8": 11, "ours-faulty": 4,
        "floor": 11, "flower-simulation": 6,
    }),
    Case(1_000, 0.4): Plan(3, {"ours-virtual": 6, "floor": 6, "flower-simulation": 3}),
    CNN: Plan(2, {"ours-cnn": 6, "pytorch": 6}),
    **dict.fromkeys(scaling.CASES, Plan(3, {scaling.CONTENDER: 6})),
    Case(8, 40): Plan(3, {
        "ours": 6, "ours-broker": 6, "ours-virtual": 6, "chord": 21, "floor": 6,
        "flower-legacy": 4, "flower-superlink": 3, "flower-simulation": 6,
    }),
    Case(100, 40): Plan(2, {"ours-virtual": 6, "floor": 3, "flower-simulation": 3}),
    Case(8, 400): Plan(1, {"ours": 3, "ours-broker": 3, "ours-virtual": 3, "floor": 3}),
    Case(10_000, 0.4): Plan(1, {"ours-virtual": 3}),
}  # fmt: skip
"""In the order in which they are run: what is quick comes first, and has more turns."""
OTHER = Plan(2, {name: 6 for name in CONTENDERS if name not in PLANS[CNN].rounds})
"""How cases are run that are asked for and not in the table."""


def plans(cases: Sequence[str], busy: Sequence[int]) -> dict[Case, Plan]:
    """Return what is to be run.

    Args:
        cases: Those of the table, by their names, or others like ``3x1``; none: all of the table.
        busy: Numbers of endless loops, beside each of which they are run; none: as in the table.

    Raises:
        BadParameter: If there is no such case.
    """
    chosen = [_parsed(text) for text in cases] or list(PLANS)
    return {
        replace(case, busy=count): PLANS.get(replace(case, busy=count)) or PLANS.get(case, OTHER)
        for case in chosen
        for count in (busy or (case.busy,))
    }


def _parsed(text: str) -> Case:
    if text == CNN.trains:
        return CNN
    try:
        return Case.parse(text)
    except ValueError:
        raise click.BadParameter(f"--case {text}: write {CNN.trains}, or clients and MB like 8x40") from None


def run_case(case: Case, plan: Plan, results: Results) -> None:
    """Have a case's contenders carry it out, each in turn, every other time the other way round; keep all figures."""
    results.cases[case] = {name: [] for name in plan.rounds}
    names = list(plan.rounds)
    for turn in range(plan.turns):
        for name in reversed(names) if turn % 2 else names:
            click.echo(f"{_now()} {case} {name}: ", nl=False)
            with busy_loops(case.busy):
                outcome = _run(name, case, plan.rounds[name])
            click.echo(described(outcome))
            results.cases[case][name].append(outcome)
            results.save(_now())


def _run(name: str, case: Case, num_rounds: int) -> Outcome:
    """Have a contender carry out rounds; that it doesn't complete is an outcome too."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            return CONTENDERS[name].run(case, num_rounds, Path(folder), Limit(LIMIT_S))
        except (DidNotCompleteError, FederationError, OSError) as error:
            return Outcome(error=str(error))


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Have so many processes do nothing without end while the block runs."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def described(outcome: Outcome) -> str:
    """Return an outcome in a line."""
    median, server = outcome.median_s(), outcome.above_idle_mb("server")
    if outcome.error or median is None:
        return f"did not complete: {outcome.error}"
    rounds = outcome.rounds_s[1:]
    memory = "" if server is None else f"; server {server:.1f} MB above idle"
    traffic = "" if outcome.broker_in_mb is None else f"; broker {outcome.broker_in_mb} + {outcome.broker_out_mb} MB"
    return (
        f"{median:.4f} s, the median of {len(rounds)} rounds ({min(rounds):.4f} to {max(rounds):.4f}; "
        f"first {outcome.rounds_s[0]:.4f}){memory}{traffic}"
    )


@click.command(context_settings={"show_default": True})
@click.option("--case", "cases", multiple=True, help=f"Only these: {CNN.trains}, or clients and MB like 8x40.")
@click.option("--busy", multiple=True, type=click.IntRange(0), help="Endless loops that run beside each of them.")
@click.option("--contender", "names", multiple=True, type=click.Choice(list(CONTENDERS)), help="Only these.")
@click.option("--turns", type=click.IntRange(1), help="How often each is run, in place of the table's number.")
@click.option("--rounds", type=click.IntRange(2), help="Complete rounds in place of the table's, the first included.")
@click.option("--without-flower", is_flag=True, help="Leave Flower out.")
@click.option("--tables", is_flag=True, help="Run nothing; make the tables of what has been run.")
@click.option("--docs", is_flag=True, help="Write tables and the plot into docs/performance.md and docs/scaling.md.")
def main(
    cases: Sequence[str],
    busy: Sequence[int],
    names: Sequence[str],
    turns: int | None,
    rounds: int | None,
    without_flower: bool,
    tables: bool,
    docs: bool,
) -> None:
    """Run contenders against each other, keep the figures, and print tables."""
    chosen = {name for name in names or CONTENDERS if not (without_flower and name.startswith("flower-"))}
    todo = {
        case: Plan(turns or plan.turns, {name: rounds or plan.rounds[name] for name in plan.rounds if name in chosen})
        for case, plan in plans(cases, busy).items()
        if plan.rounds.keys() & chosen
    }
    if not todo:
        raise click.UsageError("none of these contenders carries out one of these cases: see benchmarks/performance.py")
    results = Results.load() if tables else run_all(todo)
    if results is None:
        raise click.UsageError("nothing has been run: leave --tables out")
    show(results, docs=docs)
    failed = [
        f"{case} {name}: {outcome.error}"
        for case in results.cases.keys() & todo.keys()
        for name, outcomes in results.cases[case].items()
        for outcome in outcomes
        if outcome.error
    ]
    if failed and not tables:
        raise click.ClickException("; ".join(failed))


def run_all(todo: Mapping[Case, Plan]) -> Results:
    """Run the cases one after the other, measure unit costs with those that these go with, and return all figures."""
    if flower.version() is None and any(name.startswith("flower-") for plan in todo.values() for name in plan.rounds):
        raise click.UsageError(
            "Flower isn't installed in .venv-flower: `make bench` does that, or add --without-flower"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = Results.of(describe(), f"{_now()} (load {os.getloadavg()[0]:.0f})")
    if todo.keys() & set(scaling.CASES):
        results.units = asdict(unit_costs.measure(lambda what: click.echo(f"{_now()} {what}")))
    for case, plan in todo.items():
        run_case(case, plan, results)
    if todo.keys() & set(scaling.CASES):
        results.crowd = many_clients.tables(many_clients.TURNS)
        results.save(_now())
    return results


def show(results: Results, *, docs: bool) -> None:
    """Print all tables that there are figures for, and write them into the pages, if they are to be."""
    pages = {
        "performance.md": {
            "machine": machine(results),
            "cases": all_tables(results),
            "processors": processors(results),
        }
    }
    if costs := scaling.measured(results):
        pages["scaling.md"] = {"machine": machine(results), **scaling.all_tables(costs), **results.crowd}
    for name, texts in pages.items():
        click.echo("\n\n".join(texts.values()))
        if docs:
            paste_into(DOCS / name, texts)
    if docs:
        draw(results, PLOT)


if __name__ == "__main__":
    main()
