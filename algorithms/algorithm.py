"""What an algorithm is: the client's part, what travels beside the parameters, and how the model moves.

All of it is pure functions over arrays that they don't change: no clock, no disk, no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.arrays import Arrays
from tasks.messages import TrainOptions
from tasks.workload import Direction, Gradients, TrainResult

State = Mapping[str, Arrays]
"""Named sets of arrays, like ``{"momentum": {...}}``: each has the names and shapes of the model's floats.

Their dtypes are the model's, but for float32 in place of float16."""

Settings = Mapping[str, float]
"""An algorithm's own hyperparameters by name, as at ``--set``."""


@dataclass(frozen=True, slots=True)
class LocalTask:
    """What the client's part of an algorithm works with in one round.

    Attributes:
        parameters: The global model. Not to be changed.
        broadcast: What the orchestrator sent along, with the aggregate of the first exchange, if the algorithm has one
            and it is over; sets of the orchestrator's state are missing until that has them.
        state: What this client kept after the last of its updates that was accepted; empty before that.
        options: Epochs, batch size, learning rate.
        settings: The algorithm's.
        num_clients: Clients known to the run, N: see :class:`ServerRound`.
        train: Trains on the client's data from ``parameters``; with a direction, the optimiser takes what that returns
            in place of the gradients.
        gradients: Returns the mean loss over all the client's training examples at ``parameters``, and its gradients.
        loss: Returns that loss alone.
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
    """What the client's part of an algorithm returns.

    Attributes:
        trained: What training returned.
        sent: What goes to the orchestrator beside the parameters: the sets that ``Algorithm.sent`` names.
        state: Returns what this client is to have in its next round, should this update be accepted; it stays at the
            client. It is given ``sent`` as it arrives at the orchestrator: compressed, that is something else.
        metrics: Numbers to be sent along, beside those of training.
        warning: Why the algorithm may not do here what it promises; it is told with a client's first update of a run.
    """

    trained: TrainResult
    sent: State = field(default_factory=dict)
    state: Callable[[State], State] = lambda _arrived: {}
    metrics: Mapping[str, float] = field(default_factory=dict)
    warning: str = ""


@dataclass(frozen=True, slots=True)
class UpdateInfo:
    """What is known of an update beside its parameters.

    Attributes:
        client_id: Whose it is.
        num_examples: Examples that it was trained on.
        num_steps: Steps that went into it.
        metrics: What the client said of its training.
        squared_distance: Returns |x_k - x|², the squared L2 norm of its delta over all that is trained.
    """

    client_id: str
    num_examples: int
    num_steps: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    squared_distance: Callable[[], float] = lambda: 0.0


@dataclass(frozen=True, slots=True)
class Weights:
    """A weight for each update, in their order, and the scale of the step towards their mean.

    With x the global parameters and m the weighted mean of the updates, the target is ``x + scale * (m - x)``.
    """

    weights: Sequence[float]
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class ServerRound:
    """What the orchestrator's part of an algorithm works with.

    Attributes:
        parameters: x, the model that the round started from.
        target: Where the aggregated updates point: with a scale of 1, their aggregate.
        sent: The aggregate of what came along with the updates, by set.
        surveyed: The aggregate of what clients sent in the first exchange, by set.
        state: The orchestrator's state after the last round; empty before the first.
        num_updates: Updates that were aggregated, |S|.
        num_clients: Clients known to the run, N: who was in a cohort of it so far, or was connected when the round was
            opened, and no fewer than ``num_updates``. It grows as clients join, so state that is a mean over all
            clients is kept as a sum.
        settings: The algorithm's.
    """

    parameters: Arrays
    target: Arrays
    sent: State
    state: State
    num_updates: int
    num_clients: int
    settings: Settings
    surveyed: State = field(default_factory=dict)


Weigh = Callable[[Sequence[UpdateInfo], TrainOptions, Settings], Weights]


def train_plainly(task: LocalTask) -> LocalResult:
    """Train as the workload does, and no more: the client's part of FedAvg."""
    return LocalResult(task.train(None))


def by_examples(updates: Sequence[UpdateInfo], _options: TrainOptions, _settings: Settings) -> Weights:
    """Return n_k for each update k: it weighs as much as the examples it was trained on."""
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
        settings: The hyperparameters that it has beside the clients', and their defaults.
        positive: Names of those of them that must not be 0.
        sent: Names of the sets of arrays that come with each update.
        broadcast: Names of the sets of its state that go out to clients with the model.
        survey: The client's part of a first exchange, before anybody trains in a round: returns the sets that
            ``surveyed`` names. Their aggregate, weighed as updates are, goes out with the orders to train, in
            ``LocalTask.broadcast``. None: there is no such exchange.
        surveyed: Names of these sets.
        keeps: Names of all sets of its state, for those whose meaning has changed: a run that an earlier version began,
            with others, isn't gone on with.
        weighs_steps: Whether ``weigh`` normalises by the steps that were done, so that nothing else must.
        needs: What ``local`` calls of the workload beside ``train`` and ``evaluate``: ``train_along``, ``gradients``.
            A workload without them is refused before the run begins rather than at each client.
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
