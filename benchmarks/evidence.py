"""Does it learn as the papers say? Federations on MNIST, FashionMNIST and Shakespeare: docs/results.md.

``make evidence ARGS="--data folder"`` runs the trials of :mod:`benchmarks.studies` that are missing in
``benchmarks/outcomes``, keeps each there, and writes tables and plot into the page. Without a folder it runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import click
import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

from benchmarks.pasting import markdown, paste_into
from benchmarks.studies import (
    CHOICES,
    NUM_SEEDS,
    OTHERS,
    PUBLISHED,
    ROLES,
    ROWS,
    SPLITS,
    STUDIES,
    TUNED_ON,
    candidates,
    chosen,
    final,
)
from benchmarks.trials import OUTCOMES, Outcome, Outcomes, Trial, load_outcomes, mean_curve, run_missing, with_seeds

DOCS = Path(__file__).parents[1] / "docs" / "results.md"
PLOT = DOCS.parent / "images" / "algorithms.png"
TARGET = 0.9
PANELS = (
    ("fedavg", "fedprox", "scaffold", "feddyn", "mime", "mimelite"),
    ("fedavg", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "fednova", "qfedavg"),
)
"""What is drawn together: algorithms that change how clients train, those that change what is made of their updates."""
SHOWN = (5, 10, 20, 40)
"""Rounds after which the accuracy on Shakespeare is shown."""
SMOOTH = 5
"""Rounds that a point of the plot is the mean of."""
SHORT = {"server_learning_rate": "server lr", "momentum": "β", "alpha": "α", "mu": "μ", "q": "q", "tau": "τ"}


def done(trial: Trial, outcomes: Outcomes) -> list[Outcome]:
    """Return what came of the trial with those of its seeds that have been run."""
    return [outcomes[each] for each in with_seeds(trial, NUM_SEEDS) if each in outcomes]


def rows_table(outcomes: Outcomes) -> str:
    """Return the rows of McMahan et al. as a Markdown table."""
    lines: list[Sequence[str]] = []
    for row in ROWS:
        found = [outcomes[trial] for trial in row.best(outcomes) if trial in outcomes]
        if not found:
            lines.append((row.name, str(row.paper), "not run", "", ""))
            continue
        reached = [number for each in found if (number := each.rounds_to(row.trial.target)) is not None]
        here = _spread(reached, 1) if len(reached) == len(found) else f"not in {row.trial.rounds}"
        tried = ", ".join(f"{trial.learning_rate:g}" for trial in row.candidates() if trial in outcomes)
        best = max(max(each.accuracies) for each in found)
        rate = f"{row.best(outcomes)[0].learning_rate:g} of {tried}"
        lines.append((row.name, str(row.paper), f"**{here}**", rate, f"{100 * best:.1f} %"))
    return markdown(("", "paper", "here", "learning rate", "best accuracy"), lines)


def _spread(values: Sequence[float], digits: int) -> str:
    """Return the mean and, of several values, their standard deviation; of fewer than all seeds also how many."""
    few = f" ({len(values)})" if len(values) < NUM_SEEDS else ""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{deviation}{few}"


def algorithms_table(outcomes: Outcomes) -> str:
    """Return the comparison as a Markdown table: accuracy at the end in %, and rounds to the target."""
    header = ["`--algorithm`", *(cell for split in SPLITS for cell in (split, f"to {TARGET:.0%}"))]
    lines = []
    for algorithm in CHOICES:
        if best := chosen(algorithm, outcomes):
            cells = [cell for split in SPLITS for cell in _compared(done(replace(best, split=split), outcomes))]
            lines.append([f"`{algorithm}` ({_described(best, outcomes)})", *cells])
    return markdown(header, lines)


def fashion_table(outcomes: Outcomes) -> str:
    """Return the comparison on FashionMNIST as a Markdown table."""
    best = [found for algorithm in OTHERS if (found := chosen(algorithm, outcomes))]
    cells = [_compared(done(replace(trial, dataset="fashion-mnist"), outcomes))[0] for trial in best]
    return markdown(["FashionMNIST", *(f"`{trial.algorithm}`" for trial in best)], [[TUNED_ON, *cells]])


def _compared(found: Sequence[Outcome]) -> tuple[str, str]:
    if not found:
        return "not run", ""
    accuracy = _spread([100 * final(outcome) for outcome in found], 1)
    rounds = [outcome.first_round(TARGET) for outcome in found]
    reached = sorted({number for number in rounds if number is not None})
    return accuracy, "–" if None in rounds else "–".join(str(number) for number in {reached[0]: 0, reached[-1]: 0})


def _described(trial: Trial, outcomes: Outcomes) -> str:
    tried = [each in outcomes for each in candidates(trial.algorithm)]
    few = [] if all(tried) else [f"{sum(tried)} of {len(tried)} tried"]
    settings = [f"{SHORT[name]} {value:g}" for name, value in trial.settings]
    return ", ".join([f"lr {trial.learning_rate:g}", *settings, *few])


def language_table(outcomes: Outcomes) -> str:
    """Return what a net says next of Shakespeare's roles as a Markdown table."""
    curves = [outcome.accuracies for outcome in done(ROLES, outcomes)]
    cells = [_spread([100 * curve[number - 1] for curve in curves], 1) if curves else "not run" for number in SHOWN]
    return markdown([f"{ROLES.num_clients} roles", *(f"round {number}" for number in SHOWN)], [["accuracy", *cells]])


def published_table(outcomes: Outcomes) -> str:
    """Return what others have published beside the same here, as a Markdown table."""
    lines = []
    for each in PUBLISHED:
        here, where = "not run", ""
        if outcome := outcomes.get(each.trial):
            here = f"{100 * outcome.accuracies[-1]:.1f} % in {len(outcome.accuracies)} rounds"
            if outcome.seconds:
                minutes, seconds = divmod(round(outcome.seconds), 60)
                here, where = f"{100 * outcome.accuracies[-1]:.1f} % in {minutes}:{seconds:02}", outcome.machine
        lines.append((each.name, each.theirs, here, where))
    return markdown(("", "theirs", "here", "the machine"), lines)


TABLES = {
    "rows": rows_table, "algorithms": algorithms_table, "fashion": fashion_table, "language": language_table,
    "published": published_table,
}  # fmt: skip


def draw(outcomes: Outcomes, path: Path) -> None:
    """Draw accuracy by round: a column a split, a line an algorithm, the mean over seeds and some rounds."""
    figure, panels = plt.subplots(
        len(PANELS), len(SPLITS), figsize=(5 * len(SPLITS), 9), sharex=True, sharey="col", layout="constrained"
    )
    for row, algorithms in zip(panels, PANELS, strict=True):
        for panel, split in zip(row, SPLITS, strict=True):
            for number, algorithm in enumerate(algorithms):
                best = chosen(algorithm, outcomes)
                if best and (found := done(replace(best, split=split), outcomes)):
                    means = smooth(mean_curve(found))
                    look = {"color": "black", "linewidth": 2.5} if number == 0 else {"color": f"C{number - 1}"}
                    panel.plot(range(SMOOTH, SMOOTH + len(means)), means, label=algorithm, **look)
            panel.set(ylim=(0.8 if split == "iid" else 0.4, 1.0))
            panel.grid(alpha=0.3)
        row[0].set_ylabel("accuracy on the test images")
        row[SPLITS.index(TUNED_ON)].legend(loc="lower right", ncols=2)
    for panel, split in zip(panels[0], SPLITS, strict=True):
        panel.set_title(split)
    for panel in panels[-1]:
        panel.set_xlabel(f"round (mean of the last {SMOOTH})")
    figure.savefig(path, dpi=80)
    plt.close(figure)


def smooth(values: Sequence[float]) -> list[float]:
    """Return the mean of each ``SMOOTH`` values in a row."""
    return [mean(values[end - SMOOTH : end]) for end in range(SMOOTH, len(values) + 1)]


def kept() -> dict[Trial, Outcome]:
    """Return what came of all trials that have been run, of whatever study."""
    return {trial: outcome for name in STUDIES for trial, outcome in load_outcomes(_path(name)).items()}


def _path(study: str) -> Path:
    return OUTCOMES / f"{study}.json"


def missing_of(study: str, outcomes: Outcomes) -> list[Trial]:
    """Return the trials of a study that have not been run."""
    return [trial for trial in STUDIES[study](outcomes) if trial not in outcomes]


def run_study(name: str, data: Path, processes: int) -> None:
    """Run the trials of a study that are missing; what comes of some decides which others there are."""
    while missing := missing_of(name, kept()):
        run_missing(missing, data, processes, click.echo, _path(name))


def _check(data: Path, studies: Iterable[str]) -> None:
    """Refuse a folder that lacks a data set's, before hours have gone by."""
    for dataset in sorted({trial.dataset for name in studies for trial in STUDIES[name](kept())}):
        if not (data / dataset).is_dir():
            raise click.UsageError(f"--data {data}: no folder {dataset} in it; docs/data-sets.md says where to get one")


@click.command(context_settings={"show_default": True})
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of data sets' folders."
)
@click.option("--only", type=click.Choice(list(STUDIES)), multiple=True, help="What to run.  [default: all]")
@click.option("--processes", default=1, type=click.IntRange(1), help="Trials at a time.")
def main(data: Path | None, only: Sequence[str], processes: int) -> None:
    """Run the trials that are missing, if data is given, and write tables and plot into docs/results.md."""
    names = only or tuple(STUDIES)
    if data:
        _check(data, names)
        for name in names:
            run_study(name, data, processes)
    outcomes = kept()
    texts: Mapping[str, str] = {name: table(outcomes) for name, table in TABLES.items()}
    click.echo("\n\n".join(texts.values()))
    draw(outcomes, PLOT)
    paste_into(DOCS, texts)


if __name__ == "__main__":
    main()
