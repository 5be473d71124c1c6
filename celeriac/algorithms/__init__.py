"""Federated algorithms, a file each: the client's part, the arrays beside the parameters, and the orchestrator's step.

All functions are pure and change none of their arrays: no clock, no disk, no network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tasks.arrays import Arrays
from tasks.errors import ConfigurationError, LoadError
from tasks.messages import TrainOptions
from tasks.plugins import load
from tasks.results import KIND as RESULTS
from tasks.workload import Direction, Gradients, TrainResult, Workload, can_train_along

ALGORITHMS = {
    "fedadagrad": "celeriac.algorithms.fedadagrad:FEDADAGRAD",
    "fedadam": "celeriac.algorithms.fedadam:FEDADAM",
    "fedavg": "celeriac.algorithms.fedavg:FEDAVG",
    "fedavgm": "celeriac.algorithms.fedavgm:FEDAVGM",
    "feddyn": "celeriac.algorithms.feddyn:FEDDYN",
    "fednova": "celeriac.algorithms.fednova:FEDNOVA",
    "fedprox": "celeriac.algorithms.fedprox:FEDPROX",
    "fedyogi": "celeriac.algorithms.fedyogi:FEDYOGI",
    "mime": "celeriac.algorithms.mime:MIME",
    "mimelite": "celeriac.algorithms.mimelite:MIMELITE",
    "qfedavg": "celeriac.algorithms.qfedavg:QFEDAVG",
    "scaffold": "celeriac.algorithms.scaffold:SCAFFOLD",
}
"""Names for ``--algorithm``, and where each is defined."""

MAX_SENT = 3
"""Most sets of arrays that an update or a first exchange may carry; it bounds their size."""

State = Mapping[str, Arrays]
"""Named sets of arrays, like ``{"momentum": {...}}``. Each has the names, shapes and dtypes of the model's arrays of
floats, with float32 in place of float16 and bfloat16."""

Settings = Mapping[str, float]
"""An algorithm's own hyperparameters by name, as at ``--set``."""


@dataclass(frozen=True, slots=True)
class LocalTask:
    """Input to the client's part of an algorithm, for one round.

    Attributes:
        parameters: The global model. Not to be changed.
        broadcast: Sets that the orchestrator sent: from its state, as soon as it has them, and the aggregate of the
            first exchange, once that is over.
        state: What this client kept after its last accepted update; empty before the first.
        options: Epochs, batch size, learning rate.
        settings: The algorithm's.
        num_clients: Clients known to the run, N: see :class:`ServerRound`.
        train: Trains on the client's data from ``parameters``; with a direction, the optimiser follows its result
            in place of the gradients.
        gradients: Returns the mean loss at ``parameters`` over all the client's training examples, and its gradients.
        loss: Returns this mean loss alone.
    """

    parameters: Arrays
    broadcast: State
    state: State
    options: TrainOptions
    settings: Settings
    num_clients: int
    train: Callable[[Direction | None], TrainResult]
    gradients: Callable[[], Gradients]
    loss: Callable[[], float]


@dataclass(frozen=True, slots=True)
class LocalResult:
    """Result of the client's part of an algorithm.

    Attributes:
        trained: What training returned.
        sent: The sets named by ``Algorithm.sent``, for the orchestrator.
        state: Returns the client's state for its next round, to be kept at the client if this update is accepted. Its
            argument is ``sent`` as the orchestrator gets it, which differs from ``sent`` under lossy compression.
        metrics: Numbers to send beside the metrics of training.
    """

    trained: TrainResult
    sent: State = field(default_factory=dict)
    state: Callable[[State], State] = lambda _arrived: {}
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpdateInfo:
    """An update without its parameters.

    Attributes:
        client_id: The client that sent it.
        num_examples: Examples that the client trained on.
        num_steps: Steps that the client took.
        metrics: The client's training metrics.
        squared_distance: Returns |x_k - x|², the squared L2 norm of the update's delta over all trained arrays.
    """

    client_id: str
    num_examples: int
    num_steps: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    squared_distance: Callable[[], float] = lambda: 0.0


@dataclass(frozen=True, slots=True)
class Weights:
    """A weight for each update, in order, and the scale of the step towards their mean.

    With x the global parameters and m the weighted mean of the updates, the target is ``x + scale * (m - x)``.
    """

    weights: Sequence[float]
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class ServerRound:
    """Input to the orchestrator's part of an algorithm.

    Attributes:
        parameters: x, the model that the round started from.
        target: Where the aggregated updates point: with a scale of 1, their aggregate.
        sent: Aggregate of the sets that came with the updates.
        surveyed: Aggregate of the sets that clients sent in the first exchange.
        results: What became of the clients' results, as the workload declares it.
        state: The orchestrator's state after the last round; empty before the first.
        num_updates: Updates that were aggregated, |S|.
        num_clients: Clients known to the run, N: all clients that were in one of its cohorts or connected when the
            round opened, and at least ``num_updates``. It grows as clients join, so an algorithm keeps a mean over all
            clients as a sum.
        settings: The algorithm's.
        rng: A generator derived from the run's seed and the round, so that a run that is resumed draws the same.
    """

    parameters: Arrays
    target: Arrays
    sent: State
    state: State
    num_updates: int
    num_clients: int
    settings: Settings
    surveyed: State = field(default_factory=dict)
    results: Arrays = field(default_factory=dict)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))


Weigh = Callable[[Sequence[UpdateInfo], TrainOptions, Settings], Weights]


def train_plainly(task: LocalTask) -> LocalResult:
    """Train as the workload does: the client's part of FedAvg."""
    return LocalResult(task.train(None))


def by_examples(updates: Sequence[UpdateInfo], _options: TrainOptions, _settings: Settings) -> Weights:
    """Return n_k, the number of examples, for each update k."""
    return Weights([float(update.num_examples) for update in updates])


def equally(updates: Sequence[UpdateInfo], _options: TrainOptions, _settings: Settings) -> Weights:
    """Return 1 for each update."""
    return Weights([1.0] * len(updates))


def take_target(server: ServerRound) -> tuple[Arrays, State]:
    """Return the target as the new model, and no state: the orchestrator's part of FedAvg."""
    return server.target, {}


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An algorithm.

    Attributes:
        name: Its name, in lower case.
        local: The client's part.
        weigh: How much each update weighs.
        step: The orchestrator's part: new global parameters, and its state.
        settings: Its own hyperparameters and their defaults.
        positive: Names of settings that must not be 0.
        sent: Names of the sets of arrays that come with each update.
        broadcast: Names of the sets of the orchestrator's state that go out to clients with the model.
        survey: The client's part of a first exchange, before the round's clients train; returns the sets named by
            ``surveyed``. Their aggregate, weighed as updates are, goes out with the orders to train, in
            ``LocalTask.broadcast``. None: there is no first exchange.
        surveyed: Names of the first exchange's sets.
        keeps: Names of all sets of the orchestrator's state. An algorithm whose state has changed its meaning lists
            them, and a stored run with other sets, begun by an earlier version, isn't resumed. Empty: not checked.
        weighs_steps: Whether ``weigh`` normalises by steps, so that ``--weighting steps`` must not do it again.
        needs: What the algorithm asks of a workload: the methods ``train_along`` and ``gradients``, which ``local``
            calls beside ``train`` and ``evaluate``; ``plain_sgd``, as its formulas are those of plain SGD at the
            options' learning rate. A workload without it is refused before the run begins.
        sends_parameters: Whether updates carry parameters. If they carry results alone, ``target`` is the model that
            the round started from.
        grows: Whether ``step`` may return parameters of other names, shapes and dtypes than the model had.
    """

    name: str
    local: Callable[[LocalTask], LocalResult] = train_plainly
    weigh: Weigh = by_examples
    step: Callable[[ServerRound], tuple[Arrays, State]] = take_target
    settings: Settings = field(default_factory=dict)
    positive: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()
    broadcast: tuple[str, ...] = ()
    survey: Callable[[LocalTask], State] | None = None
    surveyed: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    weighs_steps: bool = False
    needs: tuple[str, ...] = ()
    sends_parameters: bool = True
    grows: bool = False


def load_algorithm(spec: str) -> Algorithm:
    """Return an algorithm by name or ``module:name``.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported or isn't an algorithm.
    """
    found = load("algorithm", spec, ALGORITHMS)
    if not isinstance(found, Algorithm):
        raise LoadError(f"algorithm {spec!r} is {type(found).__name__}, not an algorithms.Algorithm")
    if (most := max(len(found.sent), len(found.surveyed))) > MAX_SENT:
        raise LoadError(f"algorithm {spec!r} sends {most} sets of arrays: {MAX_SENT} are allowed")
    if any("/" in kind for kind in (*found.sent, *found.broadcast, *found.surveyed)):
        raise LoadError(f"algorithm {spec!r}: the name of a set of arrays can't have a '/' in it")
    if RESULTS in (*found.sent, *found.broadcast, *found.surveyed, *found.keeps):
        raise LoadError(f"algorithm {spec!r}: a set of arrays can't be named {RESULTS!r}: that is for the workload's")
    if (found.survey is None) != (not found.surveyed):
        raise LoadError(f"algorithm {spec!r} has one of survey and surveyed: both are needed, or neither")
    if both := sorted(set(found.surveyed) & set(found.broadcast)):
        raise LoadError(f"algorithm {spec!r}: the set {both[0]!r} is both in surveyed and in broadcast")
    return found


def check_workload(algorithm: Algorithm, workload: Workload) -> None:
    """Check that a workload has the methods that the algorithm's client part calls.

    Raises:
        ConfigurationError: If it lacks one.
    """
    name = type(workload).__name__
    if "train_along" in algorithm.needs and not can_train_along(workload):
        raise ConfigurationError(
            f"algorithm {algorithm.name!r} changes the clients' training steps, and workload {name} has no "
            "train_along() to its train(): see docs/algorithms.md"
        )
    if "gradients" in algorithm.needs and type(workload).gradients is Workload.gradients:
        raise ConfigurationError(
            f"algorithm {algorithm.name!r} asks clients for their gradients, and workload {name} has no gradients(): "
            "see docs/algorithms.md"
        )


def check_optimizer(algorithm: Algorithm, optimizer: str) -> None:
    """Check that an algorithm's formulas are those of the clients' steps.

    Args:
        algorithm: The algorithm.
        optimizer: What takes the steps, if it isn't plain SGD: see ``Workload.optimizer_name``.

    Raises:
        ConfigurationError: If they aren't.
    """
    if optimizer and "plain_sgd" in algorithm.needs:
        raise ConfigurationError(
            f"the formulas of {algorithm.name} are those of plain SGD at --learning-rate, and the workload's optimiser "
            f"is {optimizer}: allowed is plain SGD, or another algorithm, like fedavg or fedadam"
        )


def check_weighting(algorithm: Algorithm, weighting: str) -> None:
    """Check that an algorithm allows this ``--weighting``.

    Raises:
        ConfigurationError: If the weighting is by steps, and the algorithm normalises by steps itself or has state that
            depends on equal weights.
    """
    if weighting != "steps":
        return
    if algorithm.weighs_steps:
        raise ConfigurationError(f"{algorithm.name} normalises by steps itself: leave out --weighting steps")
    if algorithm.weigh is equally:
        raise ConfigurationError(
            f"{algorithm.name} counts every update the same, and its state goes by that: leave out --weighting steps"
        )


def settings_of(algorithm: Algorithm, given: Mapping[str, float]) -> dict[str, float]:
    """Return the algorithm's settings: the given ones, and defaults for the rest.

    Raises:
        ConfigurationError: If it has no such setting, or a value is out of range.
    """
    allowed = ", ".join(f"{name} ({default:g})" for name, default in sorted(algorithm.settings.items())) or "none"
    for name, value in given.items():
        if name not in algorithm.settings:
            raise ConfigurationError(f"--set {name}: {algorithm.name} has no such setting; it has {allowed}")
        if not (math.isfinite(value) and value >= 0):
            raise ConfigurationError(f"--set {name}={value:g}: numbers from 0 are allowed")
        if value == 0 and name in algorithm.positive:
            raise ConfigurationError(f"--set {name}=0: numbers over 0 are allowed, {algorithm.name} divides by it")
    return {**algorithm.settings, **given}
