"""The loop in bare PyTorch of :mod:`benchmarks.contenders.mnist`.

Processes train clients from the same model; the parent averages what they return, and evaluates it on the test images
with as many threads as there are processes. All data is in memory before the first round. It is run as
``python -m benchmarks.contenders.mnist_loop DATA PROCESSES ROUNDS RESULT``.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.contenders.mnist import BATCH_SIZE, COHORT, LEARNING_RATE, NUM_CLIENTS, WORKLOAD
from benchmarks.contenders.programs import write_json
from tasks.workload import DataSource, Part, load_workload
from workloads.examples import Examples
from workloads.mnist import Mnist

State = dict[str, Tensor]
EVALUATION_BATCH_SIZE = 1024

_clients: list[tuple[Tensor, Tensor]] = []


def _load(folder: str, num_clients: int) -> None:
    """Load what the clients have into a process that trains."""
    torch.set_num_threads(1)
    workload = _workload()
    sources = [DataSource(Path(folder), Part(index, NUM_CLIENTS)) for index in range(num_clients)]
    _clients.extend(_tensors(workload.client_data(source).train) for source in sources)


def _train(index: int, state: State) -> State:
    """Train a client for an epoch from a model and return its model."""
    inputs, targets = _clients[index]
    model = _workload().build_model()
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
    model = workload.build_model()
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
