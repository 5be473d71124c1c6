"""What a federated round costs whose training is next to nothing: this project, Flower, and what neither can go below.

``make bench`` runs the cases of :mod:`benchmarks.cases`, contender after contender, as often as ``--repeats`` says, and
keeps all figures in ``benchmarks/results/performance.json``; with ``--docs`` it writes the tables into
docs/performance.md.
"""

from __future__ import annotations

import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks.cases import ROUNDS
from benchmarks.contender import Case, DidNotCompleteError, Limit, Outcome
from benchmarks.contenders import CONTENDERS

LIMIT_S = 600.0
"""Seconds that a contender may take for a case."""


def run_contender(name: str, case: Case, num_rounds: int) -> Outcome:
    """Have a contender carry out rounds; that it doesn't complete them is an outcome too."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            return CONTENDERS[name].run(case, num_rounds, Path(folder), Limit(LIMIT_S))
        except DidNotCompleteError as error:
            return Outcome(error=str(error))


def described(outcome: Outcome) -> str:
    """Return an outcome in a line."""
    if outcome.error:
        return f"did not complete: {outcome.error}"
    rounds = outcome.rounds_s[1:]
    memory = ", ".join(f"{role} {size:.1f}" for role, size in outcome.above_idle_mb.items() if role != "other")
    traffic = (
        f"; broker in {outcome.broker_in_mb}, out {outcome.broker_out_mb} MB a round" if outcome.broker_in_mb else ""
    )
    return (
        f"median {statistics.median(rounds):.4f} s of {len(rounds)} rounds ({min(rounds):.4f} to {max(rounds):.4f}; "
        f"first {outcome.rounds_s[0]:.4f}); MB above idle: {memory}{traffic}"
    )


@click.command(context_settings={"show_default": True})
@click.option("--case", "cases", multiple=True, help="Of the cases only these, like 8x40: 8 clients, 40 MB.")
@click.option("--contender", "names", multiple=True, type=click.Choice(list(CONTENDERS)), help="Only these.")
@click.option("--repeats", default=1, type=click.IntRange(1), help="How often each is run.")
@click.option("--rounds", type=click.IntRange(2), help="Complete rounds, the first included, in place of the table's.")
def main(cases: Sequence[str], names: Sequence[str], repeats: int, rounds: int | None) -> None:
    """Run contenders and print what came of them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for case in [Case.parse(text) for text in cases] or ROUNDS:
        chosen = {name: count for name, count in ROUNDS.get(case, {}).items() if not names or name in names}
        chosen = chosen or dict.fromkeys(names, rounds or 6)
        for _ in range(repeats):
            for name, count in chosen.items():
                click.echo(f"{datetime.now(UTC):%H:%M:%S} {case} {name}: ", nl=False)
                click.echo(described(run_contender(name, case, rounds or count)))


if __name__ == "__main__":
    main()
