"""Federations in this process, through Celery's eager mode: of a tiny workload, and of the digits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from celeriac.workloads.datasets.digits import Digits
from orchestrator.config import RunConfig
from orchestrator.federate.in_memory import InMemory, Participant, simulate
from orchestrator.observers.events import Event, Report, RoundClosed
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.eager import EagerTransport
from tasks import arrays
from tasks.arrays import Array
from tasks.blobs.chunks import MemoryChunks
from tasks.context import Context, TimeBudget
from tasks.messages import TrainOptions
from tasks.seeds import context_seed
from tasks.workload import Part, TrainResult, Workload
from tests.support import PULL, MemoryRegistry, Pull, announcement, points, run_config
from worker.client import Client
from worker.connection import Connection
from worker.serving import Serving
from worker.settings import Allowed

EXAMPLES = {"anna": 3, "bert": 5, "carl": 11}
OPTIONS = TrainOptions(epochs=2, learning_rate=0.1)


class StoppedError(Exception):
    """Raised in the place of a kill."""


def stop_after(round_number: int) -> Report:
    """What ends a run as a kill does when this round is closed."""

    def stop(event: Event) -> None:
        if isinstance(event, RoundClosed) and event.round_number == round_number:
            raise StoppedError

    return stop


class Noting(Connection):
    """A connection that notes how many seconds each client was told to stay away for."""

    def __init__(self) -> None:
        self.left: dict[str, float] = {}

    def leave(self, client_id: str, incarnation: str, seconds: float, run_id: str) -> None:
        self.left[client_id] = seconds


class Federation:
    """Three clients with 3, 5 and 11 examples, and whatever a run needs; all of it in this process.

    Args:
        folder: Where clients and runs have their folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = MemoryRegistry()
        self.chunks = MemoryChunks()
        self.transport: type[EagerTransport] = EagerTransport
        self.forgot: Callable[[], bool] = lambda: False
        self.algorithm: str | None = None
        self.events: list[Event] = []
        self.connection = Noting()
        self.serving = Serving()
        """The process of the clients: a new one knows nothing of what was answered before, and nobody."""
        self.on_event: Callable[[Event], None] = lambda _: None
        self.join_all()

    def join_all(self, workload: Workload | None = None, name: str = PULL, incarnation: str = "first") -> None:
        """Start all three clients anew."""
        for client_id in EXAMPLES:
            self.join(client_id, workload, name, incarnation)

    def join(
        self,
        client_id: str,
        workload: Workload | None = None,
        name: str = PULL,
        incarnation: str = "first",
        announced: str | None = None,
    ) -> None:
        """Add a client, or start one anew with another workload; ``announced`` is the one that it says it has."""
        path = self.folder / "clients" / client_id
        path.mkdir(parents=True, exist_ok=True)
        data = points(client_id, EXAMPLES.get(client_id, 4))
        self.serving.add(
            Client(
                client_id, name, workload or Pull(), data, self.chunks, path, incarnation, self.connection,
                Allowed(self.algorithm),
            )
        )  # fmt: skip
        said = {"num_examples": data.num_train, "labels": data.labels, "workload": announced or name}
        self.registry.announce(announcement(client_id, incarnation, **said))

    def another(self, name: str) -> Federation:
        """Another federation of the same clients, in a folder of its own."""
        return Federation(self.folder / name)

    def run(self, name: str = "run", clock: Callable[[], float] = time.monotonic, **changes: Any) -> RunFolder:
        """Carry out a new run."""
        config = run_config(**{"num_clients": 3, "rounds": 3, "options": OPTIONS, **changes})
        return self.go_on(RunFolder.create(self.folder / name, config), clock)

    def go_on(self, folder: RunFolder, clock: Callable[[], float] = time.monotonic) -> RunFolder:
        """Carry out what a folder's run has left to do."""
        here = InMemory(
            self.registry.present, self.serving, self.chunks, self.transport, self.registry.say_passed_over, self.forgot
        )
        here.carry_out(folder, self._report, clock)
        return folder

    def _report(self, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)


def local_training(parameters: arrays.Arrays, config: RunConfig, round_number: int, client_id: str) -> arrays.Arrays:
    """What a client returns, straight from its workload."""
    seed = context_seed(config.seed, round_number, client_id)
    data = points(client_id, EXAMPLES[client_id]).train
    return Pull().train(parameters, data, Context(options=config.options, seed=seed, budget=TimeBudget(1e9))).parameters


def fedavg(config: RunConfig, cohort: list[str]) -> dict[str, Array]:
    """Federated averaging in a few lines: local training, then sums weighted by examples in float64, rounded once."""
    model = dict(Pull().initial_parameters(Context(seed=context_seed(config.seed, 0, "initial parameters"))))
    num_examples = sum(EXAMPLES[client_id] for client_id in cohort)
    for round_number in range(1, config.rounds + 1):
        updates = {client_id: local_training(model, config, round_number, client_id) for client_id in cohort}
        for name, former in model.items():
            total = np.zeros(former.shape)
            for client_id, update in sorted(updates.items()):
                total = total + EXAMPLES[client_id] * update[name].astype(np.float64)
            mean = total / num_examples
            model[name] = (mean if name == "point" else np.rint(mean)).astype(former.dtype)
    return model


def model_of(folder: RunFolder, round_number: int) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in arrays.map_file(folder.checkpoint(round_number)).items()}


def bits(model: arrays.Arrays) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in model.items()}


def statuses(folder: RunFolder) -> list[dict[str, str]]:
    """Client id -> status, of each round."""
    return [{name: slot.status.value for name, slot in record.responses.items()} for record in folder.history()]


def digests(folder: RunFolder) -> list[str]:
    return [record.digest for record in folder.history()]


def cut_history(folder: RunFolder, num_rounds: int) -> None:
    """Lose the lines of the rounds after these."""
    path = folder.path / "history.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:num_rounds]))


class Hostile(Digits):
    """Sends NaN in every second round that it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.num_trained = 0

    def _train(self, *arguments: Any) -> TrainResult:
        result = super()._train(*arguments)
        self.num_trained += 1
        if self.num_trained % 2 == 0:
            result.parameters["2.bias"][0] = np.nan
        return result


def with_digits(workloads: Mapping[str, Digits] | None = None) -> dict[str, Participant]:
    """Three clients with a part of the digits each, some of which have a workload of their own."""
    given = workloads or {}
    return {name: Participant(Part(index, 3), given.get(name) or Digits()) for index, name in enumerate(EXAMPLES)}


def run_digits(
    path: Path, workloads: Mapping[str, Digits] | None = None, report: Report = lambda _: None, **changes: Any
) -> RunFolder:
    """Carry out a run of three clients with a part of the digits each."""
    config = run_config(**{"workload": "digits", "num_clients": 3, "evaluate_clients": False, **changes})
    return simulate(config, with_digits(workloads), path, report)
