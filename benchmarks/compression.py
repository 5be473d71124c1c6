"""What does compression cost, and what does it save? MNIST over 100 clients, with each ``--compression``.

``make compression ARGS="--data folder"`` runs what has not been run yet, keeps each trial in
``benchmarks/results/compression.json``, and with ``--docs`` writes tables and a plot into docs/compression.md. The
federation is the real one, in one process; bytes are those of its history.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

import click
import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

from benchmarks.mnist_trials import FRACTION, NUM_CLIENTS
from benchmarks.pasting import paste_into
from benchmarks.simulation import Participant, simulate
from orchestrator.config import RunConfig
from tasks.messages import TrainOptions
from tasks.spec import canonical
from tasks.workload import Part, load_workload

RESULTS = Path(__file__).parent / "results" / "compression.json"
DOCS = Path(__file__).parents[1] / "docs" / "compression.md"
PLOT = DOCS.parent / "images" / "compression.png"
NUM_LAST = 5
"""Rounds at the end whose accuracy counts, on average: single ones jump."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One federation: 2NN, E = 1, B = 10.

    Attributes:
        compression: At ``--compression``.
        split: Who has what.
        seed: The run's.
        learning_rate: Of the clients.
        rounds: How many.
    """

    compression: str
    split: str = "iid"
    seed: int = 0
    learning_rate: float = 0.2
    rounds: int = 60

    @property
    def key(self) -> str:
        """What this trial is kept under."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial: accuracy after each round, bytes a client and round down and up, and seconds in all."""

    accuracies: list[float]
    bytes_down: float
    bytes_up: float
    wall_time_s: float

    @property
    def final(self) -> float:
        """Mean accuracy of the last rounds."""
        return mean(self.accuracies[-NUM_LAST:])


Outcomes = Mapping[str, Outcome]

SEEDS = (0, 1, 2)
MAIN = tuple(Trial(name, seed=seed) for name in ("none", "bf16", "int8", "topk:0.01") for seed in SEEDS)
"""What each costs and saves."""
SHARES = tuple(Trial(name) for name in ("none", "topk:0.05", "topk:0.01", "topk:0.003", "topk:0.001"))
"""How little will do."""
PAIRS = tuple(
    Trial(name)
    for name in ("none", "topk:0.01", *(f"benchmarks.topk_pairs:pairs:{share}" for share in ("0.01", "0.02", "0.08")))
)
"""Signs against values in full: in as many bytes, with 1 % of the changes, and with as many changes in all the bytes
that they then take."""
SKEWED = tuple(Trial(trial.compression, "shards:2", trial.seed, 0.1, 100) for trial in MAIN if trial.seed == 0)
"""Where clients differ."""
TABLES = {"iid": MAIN, "shares": SHARES, "pairs": PAIRS, "skewed": SKEWED}


def run_trial(trial: Trial, data: str) -> Outcome:
    """Carry out a trial with MNIST's files in the folder ``data``."""
    started = time.monotonic()
    spec = canonical(f"mnist,net=2nn,split={trial.split},test-share=0")
    config = RunConfig(
        run_id="compression",
        workload=spec,
        data=data,
        compression=trial.compression,
        num_clients=NUM_CLIENTS,
        fraction=FRACTION,
        rounds=trial.rounds,
        options=TrainOptions(epochs=1, batch_size=10, learning_rate=trial.learning_rate),
        seed=trial.seed,
        evaluate_clients=False,
    )
    workload = load_workload(spec)
    participants = {
        f"client-{index + 1:04d}": Participant(Part(index, NUM_CLIENTS), workload) for index in range(NUM_CLIENTS)
    }
    with tempfile.TemporaryDirectory() as path:
        history = simulate(config, participants, Path(path)).history()
    return Outcome(
        accuracies=[record.metrics.get("accuracy", 0.0) for record in history],
        bytes_down=mean(record.bytes_down / len(record.cohort) for record in history),
        bytes_up=mean(record.bytes_up / len(record.answers) for record in history),
        wall_time_s=round(time.monotonic() - started, 1),
    )


def load_outcomes(path: Path = RESULTS) -> dict[str, Outcome]:
    """Return the trials that have been run, by their keys."""
    if not path.exists():
        return {}
    return {key: Outcome(**value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}


def run_missing(
    trials: Sequence[Trial], data: str, tell: Callable[[str], None], path: Path = RESULTS
) -> dict[str, Outcome]:
    """Carry out those trials that have not been, one after the other, keep each in a file, and return all."""
    outcomes = load_outcomes(path)
    for trial in trials:
        if trial.key in outcomes:
            continue
        outcome = outcomes[trial.key] = run_trial(trial, data)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({key: asdict(each) for key, each in outcomes.items()}), encoding="utf-8")
        temporary.replace(path)
        tell(f"{trial}: {outcome.final:.4f} in {outcome.wall_time_s:.0f} s")
    return outcomes


def table(trials: Sequence[Trial], outcomes: Outcomes) -> str:
    """Return the comparison as a Markdown table; the first of the compressions is the one that others are held to."""
    lines = [
        "| `--compression` | down | up | final accuracy | less than without |",
        "|---|---|---|---|---|",
    ]
    by_compression: dict[str, list[Outcome]] = {}
    for trial in trials:
        if trial.key in outcomes:
            by_compression.setdefault(trial.compression, []).append(outcomes[trial.key])
    first = next(iter(by_compression.values()))
    base = mean(outcome.final for outcome in first)
    for compression, found in by_compression.items():
        finals = [outcome.final for outcome in found]
        spread = f" ± {100 * stdev(finals):.2f}" if len(finals) > 1 else ""
        down = _bytes([outcome.bytes_down for outcome in found], first[0].bytes_down)
        up = _bytes([outcome.bytes_up for outcome in found], first[0].bytes_up)
        less = f"{100 * (base - mean(finals)):.2f}" if found is not first else ""
        lines.append(f"| `{compression}` | {down} | {up} | {100 * mean(finals):.2f} %{spread} | {less} |")
    return "\n".join(lines)


def _bytes(found: Sequence[float], base: float) -> str:
    share = mean(found) / base
    return f"{mean(found) / 1000:.1f} kB ({100 * share:.{1 if share >= 0.1 else 2}f} %)"


def draw(trials: Sequence[Trial], outcomes: Outcomes, path: Path) -> None:
    """Draw accuracy by bytes sent up and by round, a line a compression: the mean over the seeds."""
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True, layout="constrained")
    for compression in dict.fromkeys(trial.compression for trial in trials):
        found = [outcomes[t.key] for t in trials if t.compression == compression and t.key in outcomes]
        means = [mean(values) for values in zip(*(outcome.accuracies for outcome in found), strict=True)]
        rounds = range(1, len(means) + 1)
        panels[0].plot(rounds, means, label=compression, linewidth=1.6)
        panels[1].plot([number * found[0].bytes_up / 1e6 for number in rounds], means, linewidth=1.6)
    panels[0].set(xlabel="round", ylabel="accuracy on the test images", ylim=(0.8, 0.98))
    panels[1].set(xlabel="megabytes that a client has sent, if it was in every round", xscale="log")
    panels[0].legend(loc="lower right")
    for panel in panels:
        panel.grid(alpha=0.3)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


@click.command(context_settings={"show_default": True})
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False), help="Folder with MNIST's files.")
@click.option("--tables", is_flag=True, help="Run nothing; make the tables of what has been run.")
@click.option("--docs", is_flag=True, help="Write tables and plot into docs/compression.md.")
def main(data: str, tables: bool, docs: bool) -> None:
    """Run the trials that have not been run yet, and print the tables."""
    logging.disable(logging.WARNING)
    folder = str(Path(data).resolve())
    trials = [trial for some in TABLES.values() for trial in some]
    outcomes = load_outcomes() if tables else run_missing(trials, folder, click.echo)
    texts = {name: table(some, outcomes) for name, some in TABLES.items()}
    for text in texts.values():
        click.echo(text)
    draw(MAIN, outcomes, PLOT if docs else RESULTS.parent / PLOT.name)
    if docs:
        paste_into(DOCS, texts)


if __name__ == "__main__":
    main()
