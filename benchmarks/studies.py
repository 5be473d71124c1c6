"""The studies: what is run for docs/results.md. Each says which trials it has, given those that have been run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from statistics import mean

from benchmarks.trials import WHOLE_PART, Outcome, Outcomes, Settings, Trial, with_seeds

NUM_SEEDS = 3
SPLITS = ("iid", "shards:2", "dirichlet:0.1")
TUNED_ON = "shards:2"
BUDGET = 50
"""Rounds in which algorithms are compared."""
NUM_LAST = 10
"""Rounds at the end whose accuracy counts, on average: single ones jump."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of McMahan et al. 2017, tables 1 and 2, at C = 0.1.

    Attributes:
        name: What is trained, and how.
        paper: The paper's number of rounds.
        trial: The trial, but for its learning rate and seed.
        learning_rates: Those to be tried, with the first seed.
    """

    name: str
    paper: int
    trial: Trial
    learning_rates: tuple[float, ...]

    def candidates(self) -> list[Trial]:
        """Return a trial for each learning rate."""
        return [replace(self.trial, learning_rate=rate) for rate in self.learning_rates]

    def best(self, outcomes: Outcomes) -> list[Trial]:
        """Return the trial of the learning rate that took the fewest rounds, with all seeds; none if none was run."""
        found = [trial for trial in self.candidates() if trial in outcomes]
        if not found:
            return []
        return with_seeds(min(found, key=lambda trial: _order(trial, outcomes[trial])), NUM_SEEDS)


def _order(trial: Trial, outcome: Outcome) -> tuple[float, float]:
    return outcome.rounds_to(trial.target) or inf, -max(outcome.accuracies)


ROWS = (
    Row("2NN, iid, E = 1, B = 10, to 97 %", 87, Trial(rounds=120, target=0.97), (0.1, 0.2)),
    Row(
        "2NN, iid, E = 1, B = ∞, to 97 %", 1474,
        Trial(batch_size=WHOLE_PART, rounds=1600, target=0.97), (0.5, 1.0),
    ),
    Row(
        "2NN, two shards, E = 1, B = 10, to 97 %", 664,
        Trial(split="shards:2", rounds=700, target=0.97), (0.05, 0.1),
    ),
    Row("CNN, iid, E = 1, B = 10, to 99 %", 34, Trial(net="cnn", rounds=45, target=0.99), (0.2,)),
    Row(
        "CNN, iid, E = 5, B = 10, to 99 %", 20,
        Trial(net="cnn", epochs=5, rounds=24, target=0.99), (0.15, 0.2, 0.25, 0.3),
    ),
    Row(
        "CNN, two shards, E = 1, B = 10, to 99 %", 350,
        Trial(net="cnn", split="shards:2", rounds=400, target=0.99), (0.1,),
    ),
)  # fmt: skip


def rows(outcomes: Outcomes) -> Iterator[Trial]:
    """Yield the trials of :data:`ROWS`."""
    for row in ROWS:
        yield from row.candidates()
        yield from row.best(outcomes)


Choice = tuple[float, Settings]
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
        Trial(algorithm, split=TUNED_ON, batch_size=20, learning_rate=rate, rounds=BUDGET, settings=settings)
        for rate, settings in CHOICES[algorithm]
    ]


def chosen(algorithm: str, outcomes: Outcomes) -> Trial | None:
    """Return the choice that was best at the end of the budget, of those that have been run; None if none has been."""
    run = [trial for trial in candidates(algorithm) if trial in outcomes]
    return max(run, key=lambda trial: final(outcomes[trial]), default=None)


def final(outcome: Outcome) -> float:
    """Return the mean accuracy of the budget's last rounds; 0 if the run ended before."""
    return mean(outcome.accuracies[-NUM_LAST:]) if len(outcome.accuracies) == BUDGET else 0.0


def algorithms(outcomes: Outcomes) -> Iterator[Trial]:
    """Yield each algorithm's choices, then the best of them on all splits, one seed of everything first."""
    for algorithm in CHOICES:
        yield from candidates(algorithm)
    best = [found for algorithm in CHOICES if (found := chosen(algorithm, outcomes))]
    for seed in range(NUM_SEEDS):
        yield from (replace(trial, split=split, seed=seed) for split in SPLITS for trial in best)


OTHERS = ("fedavg", "scaffold", "feddyn", "fedadam")
"""Algorithms that are compared on FashionMNIST, too, as they were tuned on MNIST."""


def fashion(outcomes: Outcomes) -> Iterator[Trial]:
    """Yield what is run on FashionMNIST; ``outcomes`` has those of :func:`algorithms`, too."""
    for algorithm in OTHERS:
        if found := chosen(algorithm, outcomes):
            yield from with_seeds(replace(found, dataset="fashion-mnist"), NUM_SEEDS)


ROLES = Trial(dataset="shakespeare", split="", num_clients=631, learning_rate=4.0, rounds=40)
"""Each client is a role of Shakespeare's plays, as in McMahan et al. 2017."""


def language(_: Outcomes) -> Iterator[Trial]:
    """Yield :data:`ROLES` with all seeds."""
    yield from with_seeds(ROLES, NUM_SEEDS)


@dataclass(frozen=True, slots=True)
class Published:
    """A figure that others have published.

    Attributes:
        name: What is trained.
        theirs: What they say of it.
        trial: The same here.
    """

    name: str
    theirs: str
    trial: Trial


FLUTE = Trial(net="linear", num_clients=1000, fraction=0.01, learning_rate=0.03, rounds=100, is_command=True)
NIID_BENCH = Trial(
    net="benchmarks.niid_bench:net", workload="benchmarks.niid_bench:Silos",
    num_clients=10, fraction=1.0, epochs=10, batch_size=64, learning_rate=0.01, rounds=3,
)  # fmt: skip
ONE_LABEL = "benchmarks.niid_bench:one_label"
_LINEAR, _SILOS = "softmax regression, 1,000 clients, ", "CNN, 10 clients, "
_TIMES = "80 % in 30:14 (Flower 1.0), in 3:20 (FLUTE)"
PUBLISHED = (
    Published(f"{_LINEAR}iid", _TIMES, FLUTE),
    Published(f"{_LINEAR}two shards", _TIMES, replace(FLUTE, split="shards:2")),
    Published(f"{_SILOS}Dirichlet(0.5)", "98.89 ± 0.07 % in 50 rounds", replace(NIID_BENCH, split="dirichlet:0.5")),
    Published(f"{_SILOS}one label each", "19.33 ± 11.82 % in 50 rounds", replace(NIID_BENCH, split=ONE_LABEL)),
)


def published(_: Outcomes) -> Iterator[Trial]:
    """Yield the trials of :data:`PUBLISHED`."""
    return (each.trial for each in PUBLISHED)


STUDIES: Mapping[str, Callable[[Outcomes], Iterator[Trial]]] = {
    "rows": rows, "algorithms": algorithms, "fashion": fashion, "language": language, "published": published,
}  # fmt: skip
"""Each is kept in a file of its name."""
