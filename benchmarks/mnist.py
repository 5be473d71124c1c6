"""Does it learn as the papers say? MNIST over 100 clients: rows of McMahan et al.'s tables, and algorithms compared.

``make mnist ARGS="--data folder"`` runs what has not been run yet, keeps each trial in
``benchmarks/results/mnist.json``, and with ``--docs`` writes tables and a plot into docs/results.md. The federation is
the real one, in a process a trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import click
import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

from benchmarks.mnist_trials import WHOLE_PART, Outcome, Trial, load_outcomes, run_missing
from benchmarks.pasting import paste_into

DOCS = Path(__file__).parents[1] / "docs" / "results.md"
PLOT = DOCS.parent / "images" / "algorithms.png"

ROWS: tuple[tuple[str, int | None, tuple[Trial, ...]], ...] = (
    (
        "2NN, iid, E = 1, B = 10, to 97 %",
        87,
        tuple(Trial("fedavg", "2nn", "iid", 1, 10, rate, 120, 0.97) for rate in (0.1, 0.2)),
    ),
    (
        "2NN, iid, E = 1, B = ∞, to 97 %",
        1474,
        tuple(Trial("fedavg", "2nn", "iid", 1, WHOLE_PART, rate, 1600, 0.97) for rate in (0.5, 1.0)),
    ),
    (
        "2NN, two shards, E = 1, B = 10, to 97 %",
        664,
        tuple(Trial("fedavg", "2nn", "shards:2", 1, 10, rate, 700, 0.97) for rate in (0.05, 0.1)),
    ),
    ("CNN, iid, E = 1, B = 10, to 99 %", 34, (Trial("fedavg", "cnn", "iid", 1, 10, 0.2, 45, 0.99),)),
    (
        "CNN, iid, E = 5, B = 10, to 99 %",
        20,
        tuple(Trial("fedavg", "cnn", "iid", 5, 10, rate, 24, 0.99) for rate in (0.1, 0.2)),
    ),
)
"""Rows of McMahan et al. 2017, tables 1 and 2: what, the paper's rounds at C = 0.1, and trials of several rates."""

SEEDS = {"iid": (0, 1), "shards:2": (0, 1, 2), "dirichlet:0.1": (0, 1, 2)}
TUNED_ON = "shards:2"
BUDGET = 50
TARGET = 0.9
CHOICES: Mapping[str, tuple[tuple[float, tuple[tuple[str, float], ...]], ...]] = {
    "fedavg": ((0.1, ()), (0.2, ())),
    "fedprox": ((0.1, (("mu", 0.1),)),),
    "fedavgm": ((0.1, (("momentum", 0.7),)), (0.05, (("momentum", 0.9),))),
    "fedadagrad": ((0.1, (("server_learning_rate", 0.03),)), (0.1, (("server_learning_rate", 0.1),))),
    "fedadam": ((0.1, (("server_learning_rate", 0.01),)), (0.1, (("server_learning_rate", 0.003),))),
    "fedyogi": ((0.1, (("server_learning_rate", 0.01),)), (0.1, (("server_learning_rate", 0.003),))),
    "fednova": ((0.1, ()),),
    "feddyn": ((0.1, (("alpha", 0.1),)), (0.1, (("alpha", 0.03),))),
    "scaffold": ((0.1, ()), (0.2, ())),
    "mime": ((0.01, (("momentum", 0.9),)), (0.03, (("momentum", 0.9),))),
    "mimelite": ((0.01, (("momentum", 0.9),)), (0.03, (("momentum", 0.9),))),
    "qfedavg": ((0.1, (("q", 0.1),)),),
}
"""Choices of learning rate and settings for each algorithm; the best of them, on one split and seed, counts."""

Outcomes = Mapping[str, Outcome]


def candidates(algorithm: str) -> list[Trial]:
    """Return an algorithm's choices on the split that they are tuned on, with the first seed."""
    return [
        Trial(algorithm, "2nn", TUNED_ON, 1, 20, rate, BUDGET, 0.0, settings) for rate, settings in CHOICES[algorithm]
    ]


def chosen(algorithm: str, split: str, outcomes: Outcomes) -> Trial:
    """Return the choice that was best at the end of the budget, for a split."""
    return replace(max(candidates(algorithm), key=lambda trial: final(outcomes[trial.key])), split=split)


def final(outcome: Outcome) -> float:
    """Return the mean accuracy of the last ten rounds: single ones jump where clients differ."""
    return mean(outcome.accuracies[-10:])


def with_seeds(trial: Trial) -> list[Trial]:
    """Return the trial with each of its split's seeds."""
    return [replace(trial, seed=seed) for seed in SEEDS[trial.split]]


def done(trial: Trial, outcomes: Outcomes) -> list[Outcome]:
    """Return what came of the trial with those of its seeds that have been run."""
    return [outcomes[each.key] for each in with_seeds(trial) if each.key in outcomes]


def rows_table(outcomes: Outcomes) -> str:
    """Return the rows of McMahan et al. as a Markdown table."""
    lines = ["| | paper | here | learning rate | best accuracy |", "|---|---|---|---|---|"]
    for name, paper, trials in ROWS:
        done = [trial for trial in trials if trial.key in outcomes]
        if not done:
            continue
        best = min(done, key=lambda trial: outcomes[trial.key].rounds_to(trial.target) or trial.rounds + 1)
        outcome = outcomes[best.key]
        rounds = outcome.rounds_to(best.target) or f"not in {best.rounds}"
        tried = ", ".join(f"{trial.learning_rate:g}" for trial in done)
        lines.append(
            f"| {name} | {paper} | **{rounds}** | {best.learning_rate:g} of {tried} | {max(outcome.accuracies):.4f} |"
        )
    return "\n".join(lines)


def algorithms_table(outcomes: Outcomes) -> str:
    """Return the comparison as a Markdown table: accuracy at the end, and rounds to the target."""
    lines = [
        f"| `--algorithm` | {' | '.join(f'{split} | rounds to {TARGET:.0%}' for split in SEEDS)} |",
        f"|---|{'---|---|' * len(SEEDS)}",
    ]
    for algorithm in CHOICES:
        cells = []
        for split in SEEDS:
            best = chosen(algorithm, split, outcomes)
            found = done(best, outcomes)
            finals = [final(outcome) for outcome in found]
            rounds = [outcome.rounds_to(TARGET) for outcome in found]
            spread = f" ± {stdev(finals):.3f}" if len(finals) > 1 else ""
            cells.append(f"{mean(finals):.3f}{spread}" if finals else "not run")
            cells.append(", ".join(str(number or "–") for number in rounds))
        lines.append(f"| `{algorithm}` ({_described(best)}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def _priority(trial: Trial) -> tuple[int, bool]:
    """Say what to run first: one seed of everything, where clients differ before where they don't."""
    return trial.seed, trial.split == "iid"


def _described(trial: Trial) -> str:
    names = {"server_learning_rate": "server lr", "momentum": "β", "alpha": "α", "mu": "μ", "q": "q"}
    return ", ".join([f"lr {trial.learning_rate:g}", *(f"{names[name]} {value:g}" for name, value in trial.settings)])


def draw(outcomes: Outcomes, path: Path) -> None:
    """Draw accuracy by round, a panel a split, a line an algorithm: the mean over the seeds."""
    figure, panels = plt.subplots(1, len(SEEDS), figsize=(15, 5), sharey=True, layout="constrained")
    for panel, split in zip(panels, SEEDS, strict=True):
        for number, algorithm in enumerate(CHOICES):
            found = [outcome.accuracies for outcome in done(chosen(algorithm, split, outcomes), outcomes)]
            means = [mean(values) for values in zip(*found, strict=True)]
            style = ("-", "--", ":")[number % 3]
            panel.plot(range(1, len(means) + 1), means, style, label=algorithm, linewidth=1.6, color=f"C{number % 10}")
        panel.set(title=split, xlabel="round")
        panel.grid(alpha=0.3)
    panels[0].set(ylabel="accuracy on the test images", ylim=(0.2, 1.0))
    panels[-1].legend(loc="lower right", ncols=2, fontsize=9)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


@click.command(context_settings={"show_default": True})
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False), help="Folder with MNIST's files.")
@click.option("--only", type=click.Choice(["rows", "algorithms", "all"]), default="all", help="What to run.")
@click.option("--row", type=int, multiple=True, help="Of the rows only these, from 0.")
@click.option("--tables", is_flag=True, help="Run nothing; make the tables of what has been run.")
@click.option("--processes", default=2, type=click.IntRange(1), help="Trials at a time.")
@click.option("--docs", is_flag=True, help="Write tables and plot into docs/results.md.")
def main(data: str, only: str, row: Sequence[int], tables: bool, processes: int, docs: bool) -> None:
    """Run the trials that have not been run yet, and print the tables."""
    outcomes: dict[str, Outcome] = load_outcomes()
    folder = str(Path(data).resolve())
    texts = {}

    def run(trials: Sequence[Trial]) -> None:
        if not tables:
            outcomes.update(run_missing(trials, folder, processes, click.echo))

    if only != "algorithms":
        trials = [trial for index, (_, _, some) in enumerate(ROWS) if not row or index in row for trial in some]
        run(trials)
        texts["rows"] = rows_table(outcomes)
    if only != "rows":
        first = [trial for algorithm in CHOICES for trial in candidates(algorithm)]
        run(first)
        best = [chosen(algorithm, split, outcomes) for algorithm in CHOICES for split in SEEDS]
        more = sorted((trial for choice in best for trial in with_seeds(choice)), key=_priority)
        run(more)
        texts["algorithms"] = algorithms_table(outcomes)
        draw(outcomes, PLOT if docs else PLOT.parents[2] / "benchmarks" / "results" / PLOT.name)
    for text in texts.values():
        click.echo(text)
    if docs:
        paste_into(DOCS, texts)


if __name__ == "__main__":
    main()
