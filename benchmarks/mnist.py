"""Does it learn as the papers say? MNIST over 100 clients: rows of McMahan et al.'s tables, and algorithms compared.

``make mnist ARGS="--data folder"`` runs what has not been run yet and keeps what came of each trial in
``benchmarks/mnist-outcomes.json``; ``--docs`` writes tables and a plot into docs/results.md, and ``--tables`` makes
them of what is kept alone. The federation is the real one, in a process a trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from statistics import mean, stdev

import click
import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

from benchmarks.mnist_trials import WHOLE_PART, Outcome, Trial, load_outcomes, mean_curve, run_missing
from benchmarks.pasting import markdown, paste_into

DOCS = Path(__file__).parents[1] / "docs" / "results.md"
PLOT = DOCS.parent / "images" / "celeriac.algorithms.png"
Outcomes = Mapping[Trial, Outcome]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of McMahan et al. 2017, tables 1 and 2, at C = 0.1.

    Attributes:
        name: What is trained, and how.
        paper: The paper's number of rounds.
        trial: The trial, but for its learning rate and seed.
        learning_rates: Those to be tried, with the first seed.
        num_seeds: How many seeds the best of them is run with.
    """

    name: str
    paper: int
    trial: Trial
    learning_rates: tuple[float, ...]
    num_seeds: int = 1

    def candidates(self) -> list[Trial]:
        """Return a trial for each learning rate."""
        return [replace(self.trial, learning_rate=rate) for rate in self.learning_rates]

    def best(self, outcomes: Outcomes) -> list[Trial]:
        """Return the trial of the learning rate that took the fewest rounds, with all seeds; none if none was run."""
        found = [trial for trial in self.candidates() if trial in outcomes]
        if not found:
            return []
        best = min(found, key=lambda trial: (outcomes[trial].rounds_to(trial.target) or inf, -top(outcomes[trial])))
        return [replace(best, seed=seed) for seed in range(self.num_seeds)]


ROWS = (
    Row("2NN, iid, E = 1, B = 10, to 97 %", 87, Trial("fedavg", "2nn", "iid", 1, 10, 0.0, 120, 0.97), (0.1, 0.2)),
    Row(
        "2NN, iid, E = 1, B = ∞, to 97 %", 1474,
        Trial("fedavg", "2nn", "iid", 1, WHOLE_PART, 0.0, 1600, 0.97), (0.5, 1.0),
    ),
    Row(
        "2NN, two shards, E = 1, B = 10, to 97 %", 664,
        Trial("fedavg", "2nn", "shards:2", 1, 10, 0.0, 700, 0.97), (0.05, 0.1),
    ),
    Row("CNN, iid, E = 1, B = 10, to 99 %", 34, Trial("fedavg", "cnn", "iid", 1, 10, 0.0, 45, 0.99), (0.2,)),
    Row(
        "CNN, iid, E = 5, B = 10, to 99 %", 20,
        Trial("fedavg", "cnn", "iid", 5, 10, 0.0, 24, 0.99), (0.1, 0.15, 0.2, 0.25, 0.3), num_seeds=2,
    ),
)  # fmt: skip

SEEDS = {"iid": (0, 1), "shards:2": (0, 1, 2), "dirichlet:0.1": (0, 1, 2)}
TUNED_ON = "shards:2"
BUDGET = 50
TARGET = 0.9
PANELS = (
    ("fedavg", "fedprox", "scaffold", "feddyn", "mime", "mimelite"),
    ("fedavg", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "fednova", "qfedavg"),
)
"""What is drawn together: algorithms that change how clients train, those that change what is made of their updates."""
SMOOTH = 5
"""Rounds that a point of the plot is the mean of."""
Choice = tuple[float, tuple[tuple[str, float], ...]]
"""A learning rate, and settings."""


def at(learning_rate: float, **settings: float) -> Choice:
    """Return a choice."""
    return learning_rate, tuple(sorted(settings.items()))


ADAPTIVE = (
    at(0.1, server_learning_rate=0.01), at(0.2, server_learning_rate=0.01),
    at(0.2, server_learning_rate=0.01, tau=0.01), at(0.2, server_learning_rate=0.03, tau=0.01),
)  # fmt: skip
CHOICES: Mapping[str, tuple[Choice, ...]] = {
    "fedavg": (at(0.1), at(0.2), at(0.3), at(0.4)),
    "fedprox": (at(0.2, mu=0.01), at(0.2, mu=0.1), at(0.3, mu=0.01), at(0.3, mu=0.1)),
    "fedavgm": (at(0.1, momentum=0.7), at(0.1, momentum=0.9), at(0.2, momentum=0.3), at(0.2, momentum=0.5)),
    "fedadagrad": (
        at(0.1, server_learning_rate=0.03), at(0.1, server_learning_rate=0.1),
        at(0.2, server_learning_rate=0.03), at(0.2, server_learning_rate=0.1, tau=0.01),
    ),
    "fedadam": ADAPTIVE,
    "fedyogi": ADAPTIVE,
    "fednova": (at(0.1), at(0.2), at(0.3), at(0.4)),
    "feddyn": (at(0.1, alpha=0.03), at(0.1, alpha=0.1), at(0.2, alpha=0.1), at(0.3, alpha=0.1)),
    "scaffold": (at(0.1), at(0.1, server_learning_rate=1.5), at(0.2), at(0.3)),
    "mime": (at(0.03, momentum=0.5), at(0.05, momentum=0.0), at(0.05, momentum=0.5), at(0.1, momentum=0.5)),
    "mimelite": (at(0.05, momentum=0.9), at(0.1, momentum=0.5), at(0.2, momentum=0.0), at(0.2, momentum=0.3)),
    "qfedavg": (at(0.2, q=0.01), at(0.2, q=0.1), at(0.2, q=1.0), at(0.3, q=0.1)),
}  # fmt: skip
"""Choices of learning rate and settings, four for each algorithm: the best of them, on one split and seed, counts."""


def candidates(algorithm: str) -> list[Trial]:
    """Return an algorithm's choices on the split that they are tuned on, with the first seed."""
    return [
        Trial(algorithm, "2nn", TUNED_ON, 1, 20, rate, BUDGET, 0.0, settings) for rate, settings in CHOICES[algorithm]
    ]


def tuned(outcomes: Outcomes) -> list[str]:
    """Return the algorithms of which a choice has been run."""
    return [name for name in CHOICES if any(trial in outcomes for trial in candidates(name))]


def chosen(algorithm: str, split: str, outcomes: Outcomes) -> Trial:
    """Return the choice that was best at the end of the budget of those that have been run, for a split."""
    run = [trial for trial in candidates(algorithm) if trial in outcomes]
    return replace(max(run, key=lambda trial: final(outcomes[trial])), split=split)


def splits_run(outcomes: Outcomes) -> list[str]:
    """Return the splits on which an algorithm has been run as it was tuned."""
    return [split for split in SEEDS if any(done(chosen(name, split, outcomes), outcomes) for name in tuned(outcomes))]


def final(outcome: Outcome) -> float:
    """Return the mean accuracy of the budget's last ten rounds, as single ones jump; 0 if the run ended before."""
    return mean(outcome.accuracies[-10:]) if len(outcome.accuracies) == BUDGET else 0.0


def top(outcome: Outcome) -> float:
    """Return the best accuracy."""
    return max(outcome.accuracies, default=0.0)


def with_seeds(trial: Trial) -> list[Trial]:
    """Return the trial with each of its split's seeds."""
    return [replace(trial, seed=seed) for seed in SEEDS[trial.split]]


def done(trial: Trial, outcomes: Outcomes) -> list[Outcome]:
    """Return what came of the trial with those of its seeds that have been run."""
    return [outcomes[each] for each in with_seeds(trial) if each in outcomes]


def rows_table(outcomes: Outcomes) -> str:
    """Return the rows of McMahan et al. as a Markdown table."""
    lines: list[Sequence[str]] = []
    for row in ROWS:
        found = [trial for trial in row.best(outcomes) if trial in outcomes]
        if not found:
            lines.append((row.name, str(row.paper), "not run", "", "", ""))
            continue
        rounds = [outcomes[trial].rounds_to(trial.target) for trial in found]
        reached = [number for number in rounds if number is not None]
        here = f"{mean(reached):.1f}" if len(reached) == len(rounds) else f"not in {row.trial.rounds}"
        each = ", ".join("–" if number is None else f"{number:.1f}" for number in rounds)
        tried = ", ".join(f"{trial.learning_rate:g}" for trial in row.candidates() if trial in outcomes)
        rate, best = f"{found[0].learning_rate:g} of {tried}", max(top(outcomes[trial]) for trial in found)
        lines.append((row.name, str(row.paper), f"**{here}**", each, rate, f"{best:.4f}"))
    return markdown(("", "paper", "here", "each seed", "learning rate", "best accuracy"), lines)


def algorithms_table(outcomes: Outcomes) -> str:
    """Return the comparison as a Markdown table: accuracy at the end, and rounds to the target."""
    splits = splits_run(outcomes)
    header = ["`--algorithm`", "tried", *(cell for split in splits for cell in (split, f"rounds to {TARGET:.0%}"))]
    rows = []
    for algorithm in tuned(outcomes):
        tried = [trial in outcomes for trial in candidates(algorithm)]
        cells = [f"{sum(tried)} of {len(tried)}"]
        for split in splits:
            best = chosen(algorithm, split, outcomes)
            found = done(best, outcomes)
            finals = [final(outcome) for outcome in found]
            rounds = [outcome.first_round(TARGET) for outcome in found]
            spread = f" ± {stdev(finals):.3f}" if len(finals) > 1 else ""
            cells.append(f"{mean(finals):.3f}{spread}" if finals else "not run")
            cells.append(", ".join(str(number or "–") for number in rounds))
        rows.append([f"`{algorithm}` ({_described(best)})", *cells])
    return markdown(header, rows)


def _described(trial: Trial) -> str:
    names = {"server_learning_rate": "server lr", "momentum": "β", "alpha": "α", "mu": "μ", "q": "q", "tau": "τ"}
    return ", ".join([f"lr {trial.learning_rate:g}", *(f"{names[name]} {value:g}" for name, value in trial.settings)])


def draw(outcomes: Outcomes, path: Path) -> None:
    """Draw accuracy by round: a column a split, a line an algorithm, the mean over seeds and some rounds."""
    splits = splits_run(outcomes)
    figure, panels = plt.subplots(
        len(PANELS), len(splits), figsize=(5 * len(splits), 9),
        sharex=True, sharey="col", squeeze=False, layout="constrained",
    )  # fmt: skip
    for row, algorithms in zip(panels, PANELS, strict=True):
        for panel, split in zip(row, splits, strict=True):
            for number, algorithm in enumerate(algorithms):
                best = chosen(algorithm, split, outcomes) if algorithm in tuned(outcomes) else None
                if best and (found := done(best, outcomes)):
                    means = smooth(mean_curve(found))
                    look = {"color": "black", "linewidth": 2.5} if number == 0 else {"color": f"C{number - 1}"}
                    panel.plot(range(SMOOTH, SMOOTH + len(means)), means, label=algorithm, **look)
            panel.set(ylim=(0.8 if split == "iid" else 0.4, 1.0))
            panel.grid(alpha=0.3)
        row[0].set_ylabel("accuracy on the test images")
        row[splits.index(TUNED_ON)].legend(loc="lower right", ncols=2)
    for panel, split in zip(panels[0], splits, strict=True):
        panel.set_title(split)
    for panel in panels[-1]:
        panel.set_xlabel(f"round (mean of the last {SMOOTH})")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def smooth(values: Sequence[float]) -> list[float]:
    """Return the mean of each ``SMOOTH`` values in a row."""
    return [mean(values[end - SMOOTH : end]) for end in range(SMOOTH, len(values) + 1)]


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(exists=True, file_okay=False), help="Folder with MNIST's files.")
@click.option("--only", type=click.Choice(["rows", "algorithms", "all"]), default="all", help="What to run.")
@click.option("--tables", is_flag=True, help="Run nothing; make the tables of what has been run.")
@click.option("--processes", default=2, type=click.IntRange(1), help="Trials at a time.")
@click.option("--docs", is_flag=True, help="Write tables and plot into docs/results.md.")
def main(data: str | None, only: str, tables: bool, processes: int, docs: bool) -> None:
    """Run the trials that have not been run yet, and print the tables."""
    if data is None and not tables:
        raise click.UsageError("--data is missing: the folder with MNIST's files; only --tables does without")
    outcomes = load_outcomes()
    texts = {}

    def run(trials: Sequence[Trial]) -> None:
        if data is not None and not tables:
            outcomes.update(run_missing(trials, str(Path(data).resolve()), processes, click.echo))

    if only != "algorithms":
        run([trial for row in ROWS for trial in row.candidates()])
        run([trial for row in ROWS for trial in row.best(outcomes)])
        texts["rows"] = rows_table(outcomes)
    if only != "rows":
        run([trial for algorithm in CHOICES for trial in candidates(algorithm)])
        best = [chosen(algorithm, split, outcomes) for algorithm in tuned(outcomes) for split in SEEDS]
        # One seed of everything first, where clients differ before where they don't.
        run(sorted((trial for each in best for trial in with_seeds(each)), key=lambda t: (t.seed, t.split == "iid")))
        texts["algorithms"] = algorithms_table(outcomes)
        draw(outcomes, PLOT if docs else PLOT.parents[2] / "benchmarks" / "results" / PLOT.name)
    for text in texts.values():
        click.echo(text)
    if docs:
        paste_into(DOCS, texts)


if __name__ == "__main__":
    main()
