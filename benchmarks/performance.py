"""What a federated round costs whose training is next to nothing: this project, Flower, and what neither can go below.

``make bench`` runs the cases of ``ROUNDS``, contender after contender, as often as ``--repeats`` says, and
keeps all figures in ``benchmarks/results/performance.json``; with ``--docs`` it writes tables and a plot into
docs/performance.md.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks.contender import Case, Contender, DidNotCompleteError, Limit, Outcome
from benchmarks.contenders import CONTENDERS, flower
from benchmarks.contenders.mnist import Federated, Loop
from benchmarks.machine import describe
from benchmarks.pasting import paste_into
from benchmarks.performance_results import MNIST, Results, Run
from benchmarks.performance_tables import all_tables, draw, machines, mnist_table
from tasks.errors import FederationError

DOCS = Path(__file__).parents[1] / "docs" / "performance.md"
PLOT = DOCS.parent / "images" / "performance.png"
LIMIT_S = 900.0
"""Seconds that a contender may take for a case."""
ROUNDS: Mapping[Case, Mapping[str, int]] = {
    Case(2, 0.4): {
        "ours": 21, "ours-broker": 21, "ours-virtual": 21, "chord": 21, "floor": 21, "floor-tcp": 21,
        "flower-legacy": 21, "flower-superlink": 6, "flower-simulation": 21,
    },
    Case(8, 40): {
        "ours": 6, "ours-broker": 6, "ours-virtual": 6, "chord": 21, "floor": 6, "floor-tcp": 6,
        "flower-legacy": 6, "flower-superlink": 6, "flower-simulation": 6,
    },
    Case(8, 400): {
        "ours": 3, "ours-broker": 3, "ours-virtual": 3, "floor": 3, "floor-tcp": 3,
        "flower-legacy": 3, "flower-superlink": 2, "flower-simulation": 3,
    },
    Case(100, 0.4): {"ours-virtual": 6, "floor": 6, "flower-simulation": 6},
    Case(100, 40): {"ours-virtual": 6, "floor": 6, "flower-simulation": 6},
    Case(1_000, 0.4): {"ours-virtual": 6, "floor": 6, "flower-simulation": 6},
    Case(10_000, 0.4): {"ours-virtual": 3, "floor": 6, "flower-simulation": 2},
}  # fmt: skip
"""Case -> contender -> complete rounds, the first included. Medians are over all rounds but the first. There are five
of these, and fewer where a run would take over some three minutes."""
OTHER_ROUNDS = 6
"""In cases that are asked for and not in the table."""
MNIST_ROUNDS = 3
MNIST_SIZE = Case(10, 6.65)
"""A round's clients and the size of the CNN."""


@dataclass(frozen=True, slots=True)
class Job:
    """A contender that carries out a case.

    Attributes:
        case: The case's name.
        contender: The contender's name.
        runs: The contender.
        clients_and_size: What it is told of the case.
        num_rounds: Complete rounds, the first included.
    """

    case: str
    contender: str
    runs: Contender
    clients_and_size: Case
    num_rounds: int

    def run(self) -> Outcome:
        """Have it carried out; that it doesn't complete is an outcome too."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            try:
                return self.runs.run(self.clients_and_size, self.num_rounds, Path(folder), Limit(LIMIT_S))
            except (DidNotCompleteError, FederationError, OSError) as error:
                return Outcome(error=str(error))


def jobs(case: str, names: Sequence[str], rounds: int | None, data: Path | None) -> list[Job]:
    """Return what is to be run of a case.

    Args:
        case: One of the table's or :data:`MNIST`, or another like ``3x1``, which all contenders carry out.
        names: Contenders, which don't matter for MNIST.
        rounds: Complete rounds in place of the table's, the first included.
        data: Folder with MNIST's files.

    Raises:
        BadParameter: If there is no such case, or MNIST is asked for without its files.
    """
    if case == MNIST:
        if data is None:
            raise click.BadParameter(f"--case {MNIST} trains on MNIST: name the folder with its files by --data")
        contenders: Mapping[str, Contender] = {"federated": Federated(data), "pytorch": Loop(data)}
        return [Job(case, name, each, MNIST_SIZE, rounds or MNIST_ROUNDS) for name, each in contenders.items()]
    try:
        parsed = Case.parse(case)
    except ValueError:
        raise click.BadParameter(f"--case {case}: write {MNIST}, or clients and MB like 8x40") from None
    table = ROUNDS.get(parsed) or dict.fromkeys(CONTENDERS, OTHER_ROUNDS)
    return [
        Job(str(parsed), name, CONTENDERS[name], parsed, rounds or count)
        for name, count in table.items()
        if name in names
    ]


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


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(context_settings={"show_default": True})
@click.option("--case", "cases", multiple=True, help=f"Only these: {MNIST}, or clients and MB like 8x40.")
@click.option("--contender", "names", multiple=True, type=click.Choice(list(CONTENDERS)), help="Only these.")
@click.option("--repeats", default=2, type=click.IntRange(1), help="How often each is run.")
@click.option("--rounds", type=click.IntRange(2), help="Complete rounds in place of the table's, the first included.")
@click.option("--without-flower", is_flag=True, help="Leave Flower out.")
@click.option("--data", type=_FOLDER, help=f"MNIST's files, for {MNIST}.")
@click.option("--tables", is_flag=True, help="Run nothing; make the tables of what has been run.")
@click.option("--docs", is_flag=True, help="Write tables and the plot into docs/performance.md.")
def main(
    cases: Sequence[str],
    names: Sequence[str],
    repeats: int,
    rounds: int | None,
    without_flower: bool,
    data: Path | None,
    tables: bool,
    docs: bool,
) -> None:
    """Run contenders against each other, keep the figures, and print tables."""
    chosen = [name for name in names or CONTENDERS if not (without_flower and name.startswith("flower-"))]
    results = Results.load()
    if not tables:
        every = [*map(str, ROUNDS), *([MNIST] if data else [])]
        run_all([job for case in cases or every for job in jobs(case, chosen, rounds, data)], repeats, results)
    texts = {"machine": machines(results), "cases": all_tables(results), "mnist": mnist_table(results)}
    click.echo("\n\n".join(texts.values()))
    if docs:
        paste_into(DOCS, texts)
        draw(results, PLOT)


def run_all(todo: Sequence[Job], repeats: int, results: Results) -> None:
    """Run the jobs, one case after the other, in each the contenders in turn, and keep what comes of them."""
    if flower.version() is None and any(job.contender.startswith("flower-") for job in todo):
        raise click.UsageError(
            "Flower isn't installed in .venv-flower: `make bench` does that, or add --without-flower"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine = describe()
    session = machine["date"]
    results.sessions[session] = machine
    for case in dict.fromkeys(job.case for job in todo):
        for repeat in range(1, repeats + 1):
            for job in todo:
                if job.case == case:
                    click.echo(f"{datetime.now(UTC):%H:%M:%S} {case} {job.contender}: ", nl=False)
                    outcome = job.run()
                    click.echo(described(outcome))
                    results.add(case, job.contender, Run(session, repeat, outcome))
                    results.save()


if __name__ == "__main__":
    main()
