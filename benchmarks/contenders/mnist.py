"""McMahan's CNN on MNIST: rounds of ten of a hundred clients, federated, and by a loop that does the same steps.

In the loop processes train clients from the same model; the parent averages what they return, and evaluates it on the
test images with as many threads as there are processes. All data is in memory before the first round. It is run as
``python -m benchmarks.contenders.mnist DATA PROCESSES ROUNDS RESULT``.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.contender import Case, DidNotCompleteError, Limit, Outcome
from benchmarks.contenders.ours import Ours
from benchmarks.contenders.programs import ROOT, programs, write_json
from benchmarks.sampling import Sampler
from celeriac.workloads.datasets.mnist import Mnist
from celeriac.workloads.examples import Examples
from orchestrator.store.run_folder import RunFolder
from tasks.context import Context
from tasks.cores import num_cores
from tasks.workload import DataSource, Part, load_workload

DATA = ROOT / "build" / "data" / "mnist"
"""Folder with MNIST's files, which `make bench` puts there."""
ROLES = (("contenders.mnist", "clients"), ("multiprocessing", "clients"))
NUM_CLIENTS = 100
COHORT = 10
BATCH_SIZE = 10
LEARNING_RATE = 0.1
EVALUATION_BATCH_SIZE = 1024
WORKLOAD = "mnist,net=cnn,test-share=0"
LEAST_ACCURACY = 0.8
"""With less than this after a few rounds something is wrong; both are above 0.9 after three."""
State = dict[str, Tensor]

_clients: list[tuple[Tensor, Tensor]] = []
"""What a process of the loop trains on."""


def is_accurate(run_dir: Path, *_: object) -> bool:
    """Say whether a run's final model classifies test images as it should by then."""
    return RunFolder(run_dir).history()[-1].metrics["accuracy"] >= LEAST_ACCURACY


FEDERATED = Ours(
    shared=True,
    options=(
        "--fraction", str(COHORT / NUM_CLIENTS), "--epochs", "1",
        "--batch-size", str(BATCH_SIZE), "--learning-rate", str(LEARNING_RATE), "--data", str(DATA),
    ),
    workload=WORKLOAD,
    cohort=COHORT,
    model_is_right=is_accurate,
)  # fmt: skip
"""This project with nothing but options."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop in bare PyTorch: as many processes as there are cores, with a thread each, train ten clients a round."""

    def run(self, case: Case, num_rounds: int, folder: Path, limit: Limit) -> Outcome:
        """Carry out the rounds."""
        result = folder / "result.json"
        with programs(folder) as started, Sampler(ROLES) as sampler:
            arguments = (str(DATA), str(num_cores()), str(num_rounds), str(result))
            started.python("loop", "benchmarks.contenders.mnist", *arguments, OMP_NUM_THREADS="1")
            found = started.wait_for_json(result, limit)
        if found["accuracy"] < LEAST_ACCURACY:
            raise DidNotCompleteError(f"the final model's accuracy is {found['accuracy']:.3f}")
        return sampler.outcome(found["marks"], found["marks"][-1], num_rounds)


def _load(folder: str, num_clients: int) -> None:
    """Load what the clients have into a process that trains."""
    torch.set_num_threads(1)
    workload = _workload()
    sources = [DataSource(Path(folder), Part(index, NUM_CLIENTS)) for index in range(num_clients)]
    _clients.extend(_tensors(workload.client_data(source).train) for source in sources)


def _train(index: int, state: State) -> State:
    """Train a client for an epoch from a model and return its model."""
    inputs, targets = _clients[index]
    model = _workload().build_model(Context())
    model.load_state_dict(state)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for rows in torch.split(torch.randperm(len(targets)), BATCH_SIZE):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[rows]), targets[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.state_dict()


def _averaged(states: Sequence[State]) -> State:
    return {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}


def _accuracy(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    size = EVALUATION_BATCH_SIZE
    batches = zip(torch.split(inputs, size), torch.split(targets, size), strict=True)
    with torch.inference_mode():
        return sum(int((model(some).argmax(dim=1) == wanted).sum()) for some, wanted in batches) / len(targets)


def _workload() -> Mnist:
    workload = load_workload(WORKLOAD)
    assert isinstance(workload, Mnist)
    return workload


def _tensors(examples: Examples) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(examples.inputs), torch.from_numpy(examples.targets)


def main() -> None:
    """Carry out rounds as the command line says, and write what came of them."""
    folder, processes, rounds, result = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(processes)
    torch.manual_seed(0)
    workload = _workload()
    model = workload.build_model(Context())
    test = _tensors(workload.holdout_data(Path(folder)))
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _load, (folder, COHORT * rounds)) as pool:
        pool.map(_nothing, range(4 * processes), 1)  # all of them are there, with their data
        marks, accuracy = [time.time()], 0.0
        for number in range(rounds):
            state = model.state_dict()
            cohort = range(number * COHORT, (number + 1) * COHORT)
            model.load_state_dict(_averaged(pool.starmap(_train, [(index, state) for index in cohort], 1)))
            accuracy = _accuracy(model, *test)
            marks.append(time.time())
    write_json(result, {"marks": marks, "accuracy": accuracy})


def _nothing(_: int) -> None:
    time.sleep(0.1)


if __name__ == "__main__":
    main()
