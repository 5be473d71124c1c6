"""All scorers and aggregators against all attacks: ten clients on the digits, three of them hostile.

``python -m benchmarks.attacks``.

The hostile are those of ``benchmarks.hostile``. The federation is the real one, orders, checks, judging and
aggregation, through Celery's eager mode: all of it in one process, so that a run of ten rounds takes a second or two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import click

from benchmarks.hostile import ATTACKS
from benchmarks.pasting import markdown, paste_into
from benchmarks.side_by_side import side_by_side
from celeriac.aggregators import AGGREGATORS
from celeriac.workloads.datasets.digits import Digits
from orchestrator.config import RunConfig
from orchestrator.federate.in_memory import Participant, simulate
from orchestrator.store.records import RoundRecord
from orchestrator.store.run_folder import RunFolder
from tasks import arrays
from tasks.context import Context
from tasks.messages import Status
from tasks.seeds import generator
from tasks.workload import Part

NUM_CLIENTS = 10
NUM_HOSTILE = 3
ROUNDS = 10
SEEDS = (1, 2, 3, 4, 5)
ROWS = (
    ("peers", ""),
    ("holdout", ""),
    ("holdout", "median*0.99"),
    ("norm", ""),
    ("cosine", ""),
    ("krum", ""),
    ("krum", "median*1.2"),
    ("fltrust", ""),
    ("norm,fltrust", ""),
)
"""Scorers and thresholds, as at ``--verify`` and ``--threshold``; without a threshold each has its default."""
MIXED = (
    ("nnm", "mean"),
    ("nnm", "median"),
    ("nnm", "trimmed_mean"),
    ("nnm", "geometric_median"),
    ("nnm", "krum"),
    ("bucketing:2", "geometric_median"),
)
"""What is done before an aggregator, as at ``--mix``, and the aggregator."""
VERIFIED = (("", "geometric_median"), ("nnm", "geometric_median"))
"""Likewise for what ``--verify fltrust`` leaves. Nobody knows how many of it are hostile: ``--num-byzantine`` is 0."""
IID, SKEWED = "iid", "dirichlet:0.3"
"""How the digits are shared out, as at ``--split``: clients alike, and clients with few of the classes."""
POINT = 0.01
"""How far below the run without the hostile is still as good."""
MOST_OF_TEN = {"bulyan": 1}
"""How many hostile of ten updates an aggregator can stand, where that is fewer than there are."""
RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True, slots=True)
class Trial:
    """One federation.

    Attributes:
        attack: A name of ``ATTACKS``; empty if all clients are honest.
        scorer: As at ``--verify``; empty for none.
        seed: The run's seed; it says which clients are hostile, too.
        is_without_hostile: Whether those who would be hostile are left out.
        threshold: As at ``--threshold``; empty for the scorer's default.
        aggregator: As at ``--aggregator``.
        mix: As at ``--mix``; empty for none.
        num_byzantine: As at ``--num-byzantine``.
        split: As at ``--split``.
    """

    attack: str
    scorer: str
    seed: int
    is_without_hostile: bool = False
    threshold: str = ""
    aggregator: str = "mean"
    mix: str = ""
    num_byzantine: int = NUM_HOSTILE
    split: str = IID


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial.

    Attributes:
        accuracy: Of the final model on the orchestrator's held-out digits, 0 to 1.
        hostile_rejected: Share of the hostile updates of all rounds that were rejected; 0 if there were none.
        honest_rejected: Likewise of the honest.
        digest: BLAKE3 digest of the final checkpoint.
    """

    accuracy: float
    hostile_rejected: float
    honest_rejected: float
    digest: str


def hostile_ids(seed: int) -> set[str]:
    """Return which clients are hostile under a seed."""
    drawn = generator(seed, "hostile").choice(NUM_CLIENTS, NUM_HOSTILE, replace=False)
    return {client_id(int(index)) for index in drawn}


def client_id(index: int) -> str:
    """Return the id of the client with part ``index`` of the digits."""
    return f"client-{index + 1:02d}"


def run_trial(trial: Trial) -> Outcome:
    """Carry out a trial."""
    with tempfile.TemporaryDirectory() as path:
        folder = simulate(_config(trial), participants(trial), Path(path))
        return _outcome(folder, set() if trial.is_without_hostile else hostile_ids(trial.seed))


def _config(trial: Trial) -> RunConfig:
    return RunConfig(
        run_id="attacks",
        workload=f"digits,split={trial.split}",
        num_clients=NUM_CLIENTS - NUM_HOSTILE * trial.is_without_hostile,
        rounds=ROUNDS,
        verify=_names(trial.scorer),
        threshold=_names(trial.threshold),
        aggregator=trial.aggregator,
        mix=_names(trial.mix),
        num_byzantine=trial.num_byzantine,
        seed=trial.seed,
        evaluate_clients=False,
        max_failed_rounds=ROUNDS + 1,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def participants(trial: Trial) -> dict[str, Participant]:
    """Return a trial's clients by id, with the digits and the workload of each."""
    hostile = hostile_ids(trial.seed)
    attack = ATTACKS.get(trial.attack)
    parts = {client_id(index): Part(index, NUM_CLIENTS) for index in range(NUM_CLIENTS)}
    found = {}
    for name, part in parts.items():
        honest = Digits(split=trial.split)
        if name not in hostile:
            found[name] = Participant(part, honest)
        elif not trial.is_without_hostile:
            of_one = attack is not None and attack.shares_data
            found[name] = Participant(parts[min(hostile)] if of_one else part, attack(honest) if attack else honest)
    return found


def _outcome(folder: RunFolder, hostile: set[str]) -> Outcome:
    history = folder.history()
    workload = Digits()
    model = arrays.map_file(folder.checkpoint(ROUNDS))
    evaluated = workload.evaluate(model, workload.holdout_data(None), Context())
    return Outcome(
        accuracy=evaluated.metrics["accuracy"],
        hostile_rejected=_share_rejected(history, lambda name: name in hostile),
        honest_rejected=_share_rejected(history, lambda name: name not in hostile),
        digest=history[-1].digest,
    )


def _share_rejected(history: Sequence[RoundRecord], is_meant: Callable[[str], bool]) -> float:
    rejected = [
        slot.status is Status.REJECTED
        for record in history
        for name, slot in record.responses.items()
        if is_meant(name)
    ]
    return mean(rejected) if rejected else 0.0


def cell(row: Trial, column: Trial, seed: int) -> Trial:
    """Return a row's trial with the attack and the split of a column."""
    return replace(row, attack=column.attack, split=column.split, seed=seed)


def reference(column: Trial, seed: int) -> Trial:
    """Return what cells are compared with: the run without the hostile, or of skewed data the mean of all."""
    return Trial("", "", seed, is_without_hostile=column.split == IID, split=column.split)


ATTACKED = {attack or "all honest": Trial(attack, "", 0) for attack in ("", *ATTACKS)}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of outcomes: a row a way to stand attacks, a column an attack.

    Attributes:
        name: Of the markers of its place, and of its file of results.
        heading: Over the rows' names.
        rows: A row's name, and its trial, to be filled in by the column.
        columns: Likewise the columns.
        page: The page of docs that it is on.
        tells_rejected: Whether cells have the shares that were rejected.
    """

    name: str
    heading: str
    rows: Mapping[str, Trial]
    columns: Mapping[str, Trial]
    page: str
    tells_rejected: bool


def _named(scorer: str, threshold: str) -> str:
    if not scorer:
        return "nothing"
    return f"`{scorer}` `--threshold {threshold}`" if threshold else f"`{scorer}`"


def _aggregator_rows() -> dict[str, Trial]:
    """Return aggregators by themselves, behind mixing, and behind a scorer."""
    rows = {}
    for name in AGGREGATORS:
        most = MOST_OF_TEN.get(name, NUM_HOSTILE)
        told = "" if most == NUM_HOSTILE else f" `--num-byzantine {most}`, for 3 it needs 15 updates"
        rows[f"`{name}`{told}"] = Trial("", "", 0, aggregator=name, num_byzantine=most)
    for mix, name in MIXED:
        rows[f"`{name}` `--mix {mix}`"] = Trial("", "", 0, aggregator=name, mix=mix)
    for mix, name in VERIFIED:
        mixing = f" `--mix {mix}`" if mix else ""
        row = Trial("", "fltrust", 0, aggregator=name, mix=mix, num_byzantine=0)
        rows[f"`{name}`{mixing} `--verify fltrust`, no `--num-byzantine`"] = row
    return rows


TABLES = {
    "scorers": Table(
        "attacks",
        "`--verify`",
        {
            _named(scorer, threshold): Trial("", scorer, 0, threshold=threshold)
            for scorer, threshold in (("", ""), *ROWS)
        },
        ATTACKED,
        "verification.md",
        tells_rejected=True,
    ),
    "aggregators": Table(
        "aggregators",
        "`--aggregator`",
        _aggregator_rows(),
        {**ATTACKED, f"all honest, `{SKEWED}`": Trial("", "", 0, split=SKEWED)},
        "aggregators.md",
        tells_rejected=False,
    ),
}
"""By name at ``--only``."""


def all_trials(tables: Iterable[Table], seeds: Sequence[int]) -> list[Trial]:
    """Return the trials of tables, each once."""
    trials = []
    for table in tables:
        for column in table.columns.values():
            trials += [reference(column, seed) for seed in seeds]
            trials += [cell(row, column, seed) for row in table.rows.values() for seed in seeds]
    return list(dict.fromkeys(trials))


def written(table: Table, outcomes: Mapping[Trial, Outcome], seeds: Sequence[int]) -> str:
    """Return a table in Markdown."""
    references = {
        name: mean(outcomes[reference(column, seed)].accuracy for seed in seeds)
        for name, column in table.columns.items()
    }
    firsts = [f"{references[name]:.3f}" if column.split == IID else "–" for name, column in table.columns.items()]
    rows = [["without them", *firsts]]
    for name, row in table.rows.items():
        cells = [
            _cell([outcomes[cell(row, column, seed)] for seed in seeds], references[heading], table.tells_rejected)
            for heading, column in table.columns.items()
        ]
        rows.append([name, *cells])
    return markdown([table.heading, *table.columns], rows)


def _cell(outcomes: Sequence[Outcome], reference: float, tells_rejected: bool) -> str:
    accuracy = mean(outcome.accuracy for outcome in outcomes)
    text = f"**{accuracy:.3f}**" if accuracy >= reference - POINT else f"{accuracy:.3f}"
    if not tells_rejected:
        return text
    hostile = mean(outcome.hostile_rejected for outcome in outcomes)
    honest = mean(outcome.honest_rejected for outcome in outcomes)
    return f"{text} {hostile:.0%} / {honest:.0%}"


@click.command(context_settings={"show_default": True})
@click.option("--seeds", default=len(SEEDS), type=click.IntRange(1), help="Runs of each kind, with seeds from 1.")
@click.option("--processes", default=2, type=click.IntRange(1), help="Runs at a time.")
@click.option("--only", type=click.Choice(list(TABLES)), show_default="both", help="Which of the tables to make.")
@click.option("--docs", is_flag=True, help="Paste the tables into docs/verification.md and docs/aggregators.md too.")
def main(seeds: int, processes: int, only: str | None, docs: bool) -> None:
    """Run every attack against every scorer and every aggregator, and write tables to benchmarks/results/."""
    chosen, tables = range(1, seeds + 1), [TABLES[name] for name in ([only] if only else TABLES)]
    outcomes = dict(side_by_side(run_trial, all_trials(tables, chosen), processes))
    RESULTS.mkdir(exist_ok=True)
    for table in tables:
        text = written(table, outcomes, chosen)
        (RESULTS / f"{table.name}.md").write_text(f"{text}\n", encoding="utf-8")
        if docs:
            paste_into(DOCS / table.page, {table.name: text})
        click.echo(text)


if __name__ == "__main__":
    main()
