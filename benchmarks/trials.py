"""Trials: federations whose accuracy after each round is kept, so that tables are made without running anything."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from statistics import mean

from benchmarks.machine import cpu
from benchmarks.side_by_side import side_by_side
from orchestrator.config import RunConfig
from orchestrator.federate.in_memory import Participant, simulate
from orchestrator.observers.events import Event, ModelEvaluated, RoundClosed
from orchestrator.store.run_folder import RunFolder
from tasks.cores import num_cores
from tasks.files import replace_text
from tasks.messages import TrainOptions
from tasks.spec import canonical
from tasks.workload import Part, load_workload

OUTCOMES = Path(__file__).parent / "outcomes"
"""A file a study, a line a trial."""
DIGITS = 4
"""Of an accuracy: one of 10,000 images shows."""
WHOLE_PART = 1_000_000
"""A batch size that stands for all of a client's examples: B = infinity in McMahan et al. 2017."""
Settings = tuple[tuple[str, float], ...]
"""Pairs of name and value, in alphabetical order."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One federation; the defaults are those of McMahan et al. 2017.

    Attributes:
        algorithm: At ``--algorithm``.
        net: At ``--net``.
        split: At ``--split``; empty for a data set that has clients of its own, and one net.
        epochs: E.
        batch_size: B.
        learning_rate: Of the clients.
        rounds: The budget.
        target: Accuracy on the test examples at which the run may stop; 0: it goes on.
        settings: At ``--set``.
        seed: The run's.
        compression: At ``--compression``.
        dataset: The workload's name, and the folder's of its files.
        workload: ``module:name`` of a workload of one's own for the data set; empty: the built-in one.
        num_clients: How many there are.
        fraction: C.
        is_command: Whether it is carried out by the command, with a server and processes, and its time counts.
    """

    algorithm: str = "fedavg"
    net: str = "2nn"
    split: str = "iid"
    epochs: int = 1
    batch_size: int = 10
    learning_rate: float = 0.1
    rounds: int = 50
    target: float = 0.0
    settings: Settings = ()
    seed: int = 0
    compression: str = "none"
    dataset: str = "mnist"
    workload: str = ""
    num_clients: int = 100
    fraction: float = 0.1
    is_command: bool = False

    def __str__(self) -> str:
        """Return what isn't as usual."""
        return " ".join(f"{name}={value}" for name, value in _unusual(self).items()) or "all as usual"

    @property
    def spec(self) -> str:
        """The workload: clients train on all of their examples, as in the paper, unless they are a data set's own."""
        name = self.workload or self.dataset
        return canonical(f"{name},net={self.net},split={self.split},test-share=0") if self.split else name


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial.

    Attributes:
        accuracies: After each round, on the test examples.
        bytes_down: To a client in a round, on average.
        bytes_up: From a client in a round, on average.
        seconds: The command's, from start to end; 0 if it wasn't one.
        machine: What the command ran on.
    """

    accuracies: list[float]
    bytes_down: float = 0.0
    bytes_up: float = 0.0
    seconds: float = 0.0
    machine: str = ""

    def __str__(self) -> str:
        """Return the best accuracy, and in how many rounds."""
        return f"best {max(self.accuracies, default=0.0):.4f} in {len(self.accuracies)} rounds"

    def first_round(self, target: float) -> int | None:
        """Return the first round after which the accuracy was ``target`` or more, or None."""
        return next((number for number, found in enumerate(self.accuracies, 1) if found >= target), None)

    def rounds_to(self, target: float) -> float | None:
        """Return where the best accuracy so far crosses ``target``, between rounds too, or None if it doesn't.

        As McMahan et al. 2017, section 3, count: a curve of the best accuracies up to each round, and straight lines
        between its points.
        """
        first = self.first_round(target)
        if first is None or first == 1:
            return first
        before = max(self.accuracies[: first - 1])
        return first - 1 + (target - before) / (self.accuracies[first - 1] - before)


Outcomes = Mapping[Trial, Outcome]


def mean_curve(outcomes: Sequence[Outcome]) -> list[float]:
    """Return the mean accuracy after each round."""
    return [mean(values) for values in zip(*(outcome.accuracies for outcome in outcomes), strict=True)]


@dataclass(slots=True)
class Curve:
    """Listens to a run.

    Attributes:
        target: Accuracy at which it may stop; 0: it goes on.
        accuracies: After each round so far.
        closed: The rounds so far.
    """

    target: float
    accuracies: list[float] = field(default_factory=list)
    closed: list[RoundClosed] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Note what happened, and end a run that has reached its target."""
        if isinstance(event, RoundClosed):
            self.closed.append(event)
            if event.status == "failed":
                self.accuracies.append(0.0)
        if isinstance(event, ModelEvaluated):
            self.accuracies.append(event.metrics.get("accuracy", 0.0))
            if self.target and self.accuracies[-1] >= self.target:
                raise _EnoughError


class _EnoughError(Exception):
    """Raised to end a trial that has reached its target."""


def run_trial(trial: Trial, data: Path) -> Outcome:
    """Carry out a trial with the files in the data set's folder of ``data``."""
    config = RunConfig(
        run_id="trial",
        workload=trial.spec,
        data=str((data / trial.dataset).resolve()),
        algorithm=trial.algorithm,
        compression=trial.compression,
        settings=dict(trial.settings),
        num_clients=trial.num_clients,
        fraction=trial.fraction,
        rounds=trial.rounds,
        options=TrainOptions(epochs=trial.epochs, batch_size=trial.batch_size, learning_rate=trial.learning_rate),
        seed=trial.seed,
        evaluate_clients=False,
        max_failed_rounds=3,
    )
    with tempfile.TemporaryDirectory() as path:
        return _by_command(config, Path(path)) if trial.is_command else _here(config, trial.target, Path(path))


def _here(config: RunConfig, target: float, path: Path) -> Outcome:
    workload, count, curve = load_workload(config.workload), config.num_clients, Curve(target)
    participants = {f"client-{index + 1:04d}": Participant(Part(index, count), workload) for index in range(count)}
    with contextlib.suppress(_EnoughError):
        simulate(config, participants, path, curve)
    return Outcome(
        [round(accuracy, DIGITS) for accuracy in curve.accuracies],
        bytes_down=mean(event.bytes_down / event.num_clients for event in curve.closed),
        bytes_up=mean(event.bytes_up / event.num_clients for event in curve.closed),
    )


def _by_command(config: RunConfig, path: Path) -> Outcome:
    study, run = path / "study.json", path / "run"
    study.write_text(config.model_dump_json(), encoding="utf-8")
    load, began = os.getloadavg()[0], time.perf_counter()
    command = [sys.executable, "-m", "orchestrator.start", str(study), "--run-dir", str(run)]
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    accuracies = [record.metrics.get("accuracy", 0.0) for record in RunFolder.open(run).history()]
    machine = f"{num_cores()} cores of {cpu()}, load {load:.0f}"
    return Outcome([round(each, DIGITS) for each in accuracies], seconds=round(seconds, 1), machine=machine)


def load_outcomes(path: Path) -> dict[Trial, Outcome]:
    """Return what came of the trials that have been run."""
    if not path.exists():
        return {}
    outcomes = {}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        outcome = Outcome(**{each.name: entry.pop(each.name) for each in fields(Outcome) if each.name in entry})
        settings = tuple(sorted(entry.pop("settings", {}).items()))
        outcomes[Trial(**entry, settings=settings)] = outcome
    return outcomes


def save_outcomes(outcomes: Outcomes, path: Path) -> None:
    """Write the outcomes into a file: JSON, a line a trial, in an order that doesn't depend on what was run when."""
    lines = sorted(json.dumps(_unusual(trial) | _unusual(outcome)) for trial, outcome in outcomes.items())
    path.parent.mkdir(exist_ok=True)
    replace_text(path, "[\n" + ",\n".join(lines) + "\n]\n", durable=False)


def _unusual(of: Trial | Outcome) -> dict[str, object]:
    """Return the fields that aren't as usual; pairs as a mapping."""
    values = {each.name: getattr(of, each.name) for each in fields(of) if getattr(of, each.name) != each.default}
    return {name: dict(value) if isinstance(value, tuple) else value for name, value in values.items()}


def run_missing(
    trials: Iterable[Trial], data: Path, processes: int, tell: Callable[[str], None], path: Path
) -> dict[Trial, Outcome]:
    """Carry out those trials that have not been, some at a time, keep each in a file, and return all."""
    outcomes = load_outcomes(path)
    missing = [trial for trial in dict.fromkeys(trials) if trial not in outcomes]
    ran = side_by_side(partial(run_trial, data=data), missing, processes, per_process=1)
    for number, (trial, outcome) in enumerate(ran, 1):
        outcomes[trial] = outcome
        save_outcomes(outcomes, path)
        tell(f"{number}/{len(missing)} {trial}: {outcome}")
    return outcomes


def with_seeds(trial: Trial, count: int) -> list[Trial]:
    """Return the trial with each of the seeds from 0 on."""
    return [replace(trial, seed=seed) for seed in range(count)]
