"""A federation small enough to be transcribed: client k's loss is |A_k (w - b_k)|² / 2, and a step takes its gradient.

Everything is float64, so that a transcription of a paper's algorithm agrees to the last digits but few. The clients'
part of an algorithm runs against :class:`Quadratic`; the orchestrator's against :func:`run_round`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from celeriac.aggregators import WeightedUpdate
from celeriac.aggregators.mean import weighted_mean
from celeriac.algorithms import Algorithm, LocalResult, LocalTask, ServerRound, State, UpdateInfo, settings_of
from orchestrator.jobs.server_update import move
from tasks import auxiliary
from tasks.arrays import Array, Arrays
from tasks.messages import TrainOptions
from tasks.workload import Direction, Gradients, Step, TrainResult

Vector = Array
RATE = 0.1
OPTIONS = TrainOptions(epochs=1, batch_size=1, learning_rate=RATE)


@dataclass(frozen=True)
class Quadratic:
    """One client. Step j of its training sees the gradient with ``noise[j]`` added, as a batch of its own would.

    Attributes:
        matrix: A_k, shape (d, d).
        optimum: b_k, shape (d,).
        num_examples: n_k.
        num_steps: Steps it does in a round.
    """

    matrix: Vector
    optimum: Vector
    num_examples: int
    num_steps: int

    def loss(self, w: Vector) -> float:
        residual = self.matrix @ (w - self.optimum)
        return float(residual @ residual) / 2

    def gradient(self, w: Vector) -> Vector:
        gradient: Vector = self.matrix.T @ self.matrix @ (w - self.optimum)
        return gradient

    def batch_gradient(self, w: Vector, number: int) -> Vector:
        """The gradient that step ``number`` sees: of a loss that is steeper in some steps than in others."""
        steepness: float = 1 + 0.25 * (-1) ** number
        return steepness * self.gradient(w)

    def task(
        self, x: Arrays, broadcast: State, state: State, num_clients: int, algorithm: Algorithm, **settings: float
    ) -> LocalTask:
        """What the algorithm's client's part gets."""

        def train(direction: Direction | None) -> TrainResult:
            w = x["w"].copy()
            for number in range(self.num_steps):
                gradients = {"w": self.batch_gradient(w, number)}
                if direction is not None:
                    at = lambda other: {"w": self.batch_gradient(other["w"], number)}  # noqa: B023, E731
                    gradients = dict(direction(Step({"w": w}, gradients, at)))
                w = w - RATE * gradients["w"]
            return TrainResult({**x, "w": w}, self.num_examples, self.num_steps, 1.0)

        return LocalTask(
            parameters=x,
            broadcast=broadcast,
            state=state,
            options=OPTIONS,
            settings=settings_of(algorithm, settings),
            num_clients=num_clients,
            train=train,
            gradients=lambda: Gradients(self.loss(x["w"]), {"w": self.gradient(x["w"])}),
            loss=lambda: self.loss(x["w"]),
        )


class Smooth(Quadratic):
    """A client all of whose steps see the gradient of all its examples."""

    def batch_gradient(self, w: Vector, number: int) -> Vector:
        return self.gradient(w)


@dataclass
class Federation:
    """Clients, and what is kept from round to round.

    Attributes:
        algorithm: What is run.
        clients: All clients.
        start: w before the first round.
        settings: As at ``--set``.
        known: Which clients are known before the first round; the others become so when they first take part.
    """

    algorithm: Algorithm
    clients: Sequence[Quadratic]
    start: Vector
    settings: dict[str, float] = field(default_factory=dict)
    known: set[int] | None = None

    def __post_init__(self) -> None:
        self.model: Arrays = {"w": self.start, "count": np.array(0)}
        self.state: State = {}
        self.kept: list[State] = [{} for _ in self.clients]
        self._joined = set(range(len(self.clients))) if self.known is None else set(self.known)

    @property
    def w(self) -> Vector:
        return self.model["w"]

    def round(self, cohort: Sequence[int], accepted: Callable[[int], bool] = lambda _: True) -> Vector:
        """Carry out a round with these clients; return the new w.

        Where the algorithm has a first exchange, who isn't accepted there isn't asked to train.
        """
        self._joined.update(cohort)
        if self.algorithm.survey is not None:
            cohort = [k for k in cohort if accepted(k)]
        broadcast = {kind: self.state[kind] for kind in self.algorithm.broadcast if kind in self.state}
        surveyed = self._surveyed(cohort, broadcast)
        broadcast = {**broadcast, **surveyed}
        results: dict[int, LocalResult] = {}
        for k in cohort:
            task = self.clients[k].task(
                self.model, broadcast, self.kept[k], len(self._joined), self.algorithm, **self.settings
            )
            result = self.algorithm.local(task)
            if accepted(k):
                results[k] = result
                self.kept[k] = result.state(result.sent)
        self.model, self.state = self._step(results, surveyed)
        return self.w

    def _surveyed(self, cohort: Sequence[int], broadcast: State) -> State:
        """Return the aggregate of the first exchange; nothing if the algorithm has none."""
        if self.algorithm.survey is None:
            return {}
        settings = settings_of(self.algorithm, self.settings)
        found = [
            self.algorithm.survey(
                self.clients[k].task(
                    self.model, broadcast, self.kept[k], len(self._joined), self.algorithm, **self.settings
                )
            )
            for k in cohort
        ]
        infos = [UpdateInfo(str(k), self.clients[k].num_examples, 0) for k in cohort]
        weights = self.algorithm.weigh(infos, OPTIONS, settings).weights
        weighted = [WeightedUpdate(auxiliary.join({}, each), v) for each, v in zip(found, weights, strict=True)]
        return auxiliary.split(weighted_mean(weighted))[1]

    def _step(self, results: dict[int, LocalResult], surveyed: State) -> tuple[Arrays, State]:
        settings = settings_of(self.algorithm, self.settings)
        infos = [self._info(k, result) for k, result in results.items()]
        weights = self.algorithm.weigh(infos, OPTIONS, settings)
        updates = [auxiliary.join(result.trained.parameters, result.sent) for result in results.values()]
        mean = weighted_mean([WeightedUpdate(u, v) for u, v in zip(updates, weights.weights, strict=True)])
        aggregate, sent = auxiliary.split(mean)
        target = move(self.model, aggregate, weights.scale)
        server = ServerRound(self.model, target, sent, self.state, len(results), len(self._joined), settings, surveyed)
        return self.algorithm.step(server)

    def _info(self, k: int, result: LocalResult) -> UpdateInfo:
        change = result.trained.parameters["w"] - self.w
        return UpdateInfo(
            str(k),
            result.trained.num_examples,
            result.trained.num_steps,
            result.metrics,
            lambda: float(change @ change),
        )


def clients(
    number: int = 5, dimensions: int = 3, seed: int = 3, num_steps: Sequence[int] = (4, 2, 5, 3, 4)
) -> list[Quadratic]:
    """Clients that differ in everything."""
    rng = np.random.default_rng(seed)
    return [
        Quadratic(
            matrix=np.eye(dimensions) + 0.4 * rng.standard_normal((dimensions, dimensions)),
            optimum=rng.standard_normal(dimensions),
            num_examples=int(rng.integers(1, 50)),
            num_steps=num_steps[k % len(num_steps)],
        )
        for k in range(number)
    ]


ROUNDS = ((0, 1, 2, 3, 4), (1, 3), (0, 2, 4), (3,), (0, 1, 2, 3, 4), (1, 2))
"""The cohorts of six rounds."""


def sgd(client: Quadratic, w: Vector, direction: Callable[[Vector, Vector, int], Vector]) -> Vector:
    """A transcription's inner loop: ``direction`` gets w, its gradient and the step's number."""
    for number in range(client.num_steps):
        w = w - RATE * direction(w, client.batch_gradient(w, number), number)
    return w
