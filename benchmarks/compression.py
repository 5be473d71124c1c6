"""What does compression cost, and what does it save? MNIST over 100 clients, with each ``--compression``.

``make compression ARGS="--data folder"`` runs what has not been run yet, keeps each trial in
``benchmarks/outcomes``, and with ``--docs`` writes tables and a plot into docs/compression.md. The
federation is the real one, in a process a trial; bytes are those of its history.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import click
import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

from benchmarks.pasting import markdown, paste_into
from benchmarks.trials import OUTCOMES, Outcome, Outcomes, Trial, load_outcomes, mean_curve, run_missing

KEPT = OUTCOMES / "compression.json"
DOCS = Path(__file__).parents[1] / "docs" / "compression.md"
PLOT = DOCS.parent / "images" / "compression.png"
NUM_LAST = 5
"""Rounds at the end whose accuracy counts, on average: single ones jump."""


def trial(compression: str, split: str = "iid", seed: int = 0, learning_rate: float = 0.2, rounds: int = 60) -> Trial:
    """Return a federation: 2NN, E = 1, B = 10."""
    return Trial(split=split, learning_rate=learning_rate, rounds=rounds, seed=seed, compression=compression)


MAIN_NAMES = ("none", "bf16", "int8", "topk:0.01")
MAIN = [trial(name, seed=seed) for name in MAIN_NAMES for seed in (0, 1, 2)]
"""What each costs and saves."""
SHARES = [trial(name) for name in ("none", "topk:0.05", "topk:0.01", "topk:0.003", "topk:0.001")]
"""How little will do."""
SKEWED = [trial(name, "shards:2", learning_rate=0.1, rounds=100) for name in MAIN_NAMES]
"""Where clients differ."""
TABLES = {"iid": MAIN, "shares": SHARES, "skewed": SKEWED}


def final(outcome: Outcome) -> float:
    """Return the mean accuracy of the last rounds."""
    return mean(outcome.accuracies[-NUM_LAST:])


def by_compression(trials: Sequence[Trial], outcomes: Outcomes) -> dict[str, list[Outcome]]:
    """Return what came of those trials that have been run, the seeds of a compression together."""
    found: dict[str, list[Outcome]] = {}
    for each in trials:
        if each in outcomes:
            found.setdefault(each.compression, []).append(outcomes[each])
    return found


def table(trials: Sequence[Trial], outcomes: Outcomes) -> str:
    """Return the comparison as a Markdown table; the first of the compressions is the one that others are held to."""
    rows = []
    compared = by_compression(trials, outcomes)
    first = next(iter(compared.values()))
    base = mean(map(final, first))
    for compression, found in compared.items():
        finals = list(map(final, found))
        spread = f" ± {100 * stdev(finals):.2f}" if len(finals) > 1 else ""
        down = _bytes([outcome.bytes_down for outcome in found], first[0].bytes_down)
        up = _bytes([outcome.bytes_up for outcome in found], first[0].bytes_up)
        less = f"{100 * (base - mean(finals)):.2f}" if found is not first else ""
        rows.append((f"`{compression}`", down, up, f"{100 * mean(finals):.2f} %{spread}", less))
    return markdown(("`--compression`", "down", "up", "final accuracy", "less than without"), rows)


def _bytes(found: Sequence[float], base: float) -> str:
    share = mean(found) / base
    return f"{mean(found) / 1000:.1f} kB ({100 * share:.{1 if share >= 0.1 else 2}f} %)"


def draw(trials: Sequence[Trial], outcomes: Outcomes, path: Path) -> None:
    """Draw accuracy by bytes sent up and by round, a line a compression: the mean over the seeds."""
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True, layout="constrained")
    for compression, found in by_compression(trials, outcomes).items():
        means = mean_curve(found)
        rounds = range(1, len(means) + 1)
        panels[0].plot(rounds, means, label=compression, linewidth=1.6)
        panels[1].plot([number * found[0].bytes_up / 1e6 for number in rounds], means, linewidth=1.6)
    panels[0].set(xlabel="round", ylabel="accuracy on the test images", ylim=(0.8, 0.98))
    panels[1].set(xlabel="megabytes that a client has sent, if it was in every round", xscale="log")
    panels[0].legend(loc="lower right")
    for panel in panels:
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


@click.command(context_settings={"show_default": True})
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that has MNIST's files in its folder mnist.",
)
@click.option("--tables", is_flag=True, help="Run nothing; make the tables of what has been run.")
@click.option("--docs", is_flag=True, help="Write tables and plot into docs/compression.md.")
def main(data: Path, tables: bool, docs: bool) -> None:
    """Run the trials that have not been run yet, and print the tables."""
    trials = [each for some in TABLES.values() for each in some]
    outcomes = load_outcomes(KEPT) if tables else run_missing(trials, data, 1, click.echo, KEPT)
    texts = {name: table(some, outcomes) for name, some in TABLES.items()}
    for text in texts.values():
        click.echo(text)
    if docs:
        draw(MAIN, outcomes, PLOT)
        paste_into(DOCS, texts)


if __name__ == "__main__":
    main()
