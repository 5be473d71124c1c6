"""What limits one server and one orchestrator, and what comes past that: unit costs are measured, the rest follows.

``make scaling`` measures for a minute or two, keeps the figures in ``benchmarks/results/scaling.json``, and prints
tables; with ``--docs`` it writes them into docs/scaling.md, with ``--tables`` it measures nothing.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.capacity import Costs
from benchmarks.machine import describe
from benchmarks.pasting import paste_into
from benchmarks.scaling_costs import Measured, measure
from benchmarks.scaling_tables import all_tables
from benchmarks.server_costs import Speed

DOCS = Path(__file__).parents[1] / "docs" / "scaling.md"
PATH = Path(__file__).parent / "results" / "scaling.json"


def save(measured: Measured, machine: dict[str, str], path: Path) -> None:
    """Keep what was measured, and on what, at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "measured": asdict(measured)}, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[Measured, dict[str, str]]:
    """Return what is kept at ``path``.

    Raises:
        ClickException: If there is nothing, or something else.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return _measured(kept["measured"]), kept["machine"]
    except FileNotFoundError:
        raise click.ClickException(f"{path} doesn't exist: run `make scaling` without --tables first") from None
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"{path} is not what `make scaling` writes: {error!r}") from None


def _measured(kept: dict[str, Any]) -> Measured:
    return Measured(
        speeds={name: Speed(**speed) for name, speed in kept["speeds"].items()},
        cpu_s=kept["cpu_s"],
        traffic={case: (traffic[0], traffic[1]) for case, traffic in kept["traffic"].items()},
        digest_s=kept["digest_s"],
        costs=Costs(**kept["costs"]),
    )


@click.command()
@click.option("--tables", is_flag=True, help="Measure nothing; make the tables of what was measured last.")
@click.option("--docs", is_flag=True, help="Write the tables into docs/scaling.md.")
def main(*, tables: bool, docs: bool) -> None:
    """Measure unit costs, and calculate from them how far one server and one orchestrator go, and what comes then."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not tables:
        save(measure(lambda what: click.echo(f"measuring {what}", err=True)), describe(), PATH)
    measured, machine = load(PATH)
    texts = {"machine": ", ".join(f"{name} {value}" for name, value in machine.items()), **all_tables(measured)}
    click.echo("\n\n".join(texts.values()))
    if docs:
        paste_into(DOCS, texts)


if __name__ == "__main__":
    main()
