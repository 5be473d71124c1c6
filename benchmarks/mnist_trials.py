"""One federation on MNIST over 100 clients: what :mod:`benchmarks.mnist` and :mod:`benchmarks.compression` compare."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from functools import partial
from pathlib import Path
from statistics import mean

from benchmarks.side_by_side import side_by_side
from orchestrator.config import RunConfig
from orchestrator.federate.in_memory import Participant, simulate
from orchestrator.observers.events import Event, ModelEvaluated, RoundClosed
from tasks.files import replace_text
from tasks.messages import TrainOptions
from tasks.spec import canonical
from tasks.workload import Part, load_workload

NUM_CLIENTS = 100
FRACTION = 0.1
OUTCOMES = Path(__file__).parent / "mnist-outcomes.json"
"""What has been run: kept with the code, so that the tables can be made without running anything."""
DIGITS = 4
"""Of an accuracy: the share of 10,000 images."""
WHOLE_PART = 1_000_000
"""A batch size that stands for all of a client's examples: B = infinity in the paper."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One federation.

    Attributes:
        algorithm: At ``--algorithm``.
        net: ``2nn`` or ``cnn``.
        split: Who has what.
        epochs: E.
        batch_size: B.
        learning_rate: Of the clients.
        rounds: The budget.
        target: Accuracy on the test images at which the run may stop; 0: it goes on.
        settings: At ``--set``, as pairs in alphabetical order.
        seed: The run's.
        compression: At ``--compression``.
    """

    algorithm: str
    net: str
    split: str
    epochs: int
    batch_size: int
    learning_rate: float
    rounds: int
    target: float = 0.0
    settings: tuple[tuple[str, float], ...] = ()
    seed: int = 0
    compression: str = "none"

    def __str__(self) -> str:
        """Return it in short."""
        settings = "".join(f" {name}={value:g}" for name, value in self.settings)
        batch_size = "all" if self.batch_size == WHOLE_PART else self.batch_size
        return (
            f"{self.algorithm}{settings} {self.net} {self.split} E={self.epochs} B={batch_size} "
            f"lr={self.learning_rate:g} seed={self.seed} compression={self.compression}"
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial: the accuracy after each round, and the mean bytes of a client and round, down and up."""

    accuracies: list[float]
    bytes_down: float = 0.0
    bytes_up: float = 0.0

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


def mean_curve(outcomes: Sequence[Outcome]) -> list[float]:
    """Return the mean accuracy after each round."""
    return [mean(values) for values in zip(*(outcome.accuracies for outcome in outcomes), strict=True)]


def run_trial(trial: Trial, data: str) -> Outcome:
    """Carry out a trial with MNIST's files in the folder ``data``."""
    # As in the paper, all 600 images are trained on.
    spec = canonical(f"mnist,net={trial.net},split={trial.split},test-share=0")
    config = RunConfig(
        run_id="mnist",
        workload=spec,
        data=data,
        algorithm=trial.algorithm,
        compression=trial.compression,
        settings=dict(trial.settings),
        num_clients=NUM_CLIENTS,
        fraction=FRACTION,
        rounds=trial.rounds,
        options=TrainOptions(epochs=trial.epochs, batch_size=trial.batch_size, learning_rate=trial.learning_rate),
        seed=trial.seed,
        evaluate_clients=False,
        max_failed_rounds=3,
    )
    workload = load_workload(spec)
    participants = {
        f"client-{index + 1:04d}": Participant(Part(index, NUM_CLIENTS), workload) for index in range(NUM_CLIENTS)
    }
    closed: list[RoundClosed] = []
    accuracies: list[float] = []

    def report(event: Event) -> None:
        if isinstance(event, RoundClosed):
            closed.append(event)
            if event.status == "failed":
                accuracies.append(0.0)
        if isinstance(event, ModelEvaluated):
            accuracies.append(event.metrics.get("accuracy", 0.0))
            if trial.target and accuracies[-1] >= trial.target:
                raise _EnoughError

    with tempfile.TemporaryDirectory() as path, contextlib.suppress(_EnoughError):
        simulate(config, participants, Path(path), report)
    return Outcome(
        [round(accuracy, DIGITS) for accuracy in accuracies],
        bytes_down=mean(event.bytes_down / event.num_clients for event in closed),
        bytes_up=mean(event.bytes_up / event.num_clients for event in closed),
    )


class _EnoughError(Exception):
    """Raised to end a trial that has reached its target."""


def load_outcomes(path: Path = OUTCOMES) -> dict[Trial, Outcome]:
    """Return what came of the trials that have been run."""
    if not path.exists():
        return {}
    outcomes = {}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        outcome = Outcome(**{each.name: entry.pop(each.name) for each in fields(Outcome) if each.name in entry})
        settings = tuple(sorted(entry.pop("settings").items()))
        outcomes[Trial(**entry, settings=settings)] = outcome
    return outcomes


def save_outcomes(outcomes: Mapping[Trial, Outcome], path: Path = OUTCOMES) -> None:
    """Write the outcomes into a file: JSON, a line a trial, in an order that doesn't depend on what was run when."""
    lines = [
        json.dumps({**asdict(trial), "settings": dict(trial.settings), **asdict(outcome)})
        for trial, outcome in sorted(outcomes.items(), key=lambda item: astuple(item[0]))
    ]
    path.parent.mkdir(exist_ok=True)
    replace_text(path, "[\n" + ",\n".join(lines) + "\n]\n", durable=False)


def run_missing(
    trials: Iterable[Trial], data: str, processes: int, tell: Callable[[str], None], path: Path = OUTCOMES
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
