from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from celeriac.workloads.examples import Examples
from celeriac.workloads.side_by_side import FEW
from celeriac.workloads.torch_workload import EVALUATION_BATCH_SIZE, TorchWorkload
from tasks.context import Context
from tasks.evaluation import Evaluation
from tasks.workload import ClientData, DataSource

SEEN: set[tuple[int, int]] = set()
"""Which thread computed with which module."""


class Wide(nn.Module):
    """Wide enough for torch to share a batch's sums between threads; ``kept`` is what it keeps beside tensors."""

    def __init__(self, kept: object) -> None:
        super().__init__()
        self.hidden, self.output, self.kept = nn.Linear(784, 200), nn.Linear(200, 10), kept

    def forward(self, inputs: Tensor) -> Any:
        SEEN.add((threading.get_ident(), id(self)))
        if not bool(torch.isfinite(inputs).all()):
            raise RuntimeError("no luck")
        return self.output(torch.relu(self.hidden(inputs)))


class Workload(TorchWorkload):
    def __init__(self, kept: object = None) -> None:
        self._kept = kept

    def build_model(self, context: Context) -> nn.Module:
        return Wide(self._kept)

    def client_data(self, source: DataSource) -> ClientData:
        raise NotImplementedError

    def holdout_data(self, folder: Path | None) -> None:
        return None


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    SEEN.clear()
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def evaluated(num_threads: int, workload: Workload, data: Examples) -> tuple[Evaluation, set[tuple[int, int]]]:
    """What a process finds that has so many threads, and which thread used which module."""
    SEEN.clear()
    torch.set_num_threads(num_threads)
    found = workload.evaluate(workload.initial_parameters(Context(seed=1)), data, Context())
    assert torch.get_num_threads() == num_threads
    return found, set(SEEN)


def examples(num_batches: int) -> Examples:
    rng, number = np.random.default_rng(0), num_batches * EVALUATION_BATCH_SIZE - 7
    return Examples(rng.random((number, 784), dtype=np.float32), rng.integers(10, size=number))


def test_the_result_is_the_same_to_the_last_bit_with_any_number_of_threads() -> None:
    # Given ten batches and a rest, when processes with one, two and three threads evaluate them
    data = examples(FEW + 7)
    results = [evaluated(number, Workload(), data) for number in (1, 2, 3)]
    # Then they find the same
    assert len({(found.loss, found.metrics["accuracy"]) for found, _ in results}) == 1
    # And no thread used another's modules, nor more of them than the process has
    for number, (_, seen) in zip((1, 2, 3), results, strict=True):
        assert len({thread for thread, _ in seen}) == len({module for _, module in seen}) == len(seen) <= number
    assert threading.get_ident() in {thread for thread, _ in results[0][1]}
    assert threading.get_ident() not in {thread for thread, _ in results[1][1]}


def test_few_batches_and_models_that_cant_be_copied_are_left_to_one_thread() -> None:
    # Given few batches, and a model that holds a lock
    few = evaluated(2, Workload(), examples(FEW))
    locked = evaluated(2, Workload(threading.Lock()), examples(FEW + 1))
    # When they are evaluated, then this thread does it alone
    assert {thread for _, seen in (few, locked) for thread, _ in seen} == {threading.get_ident()}
    # And a model that holds none gives the same
    assert locked[0] == evaluated(2, Workload(), examples(FEW + 1))[0]


def test_what_the_model_raises_is_raised() -> None:
    # Given an example that the model refuses, when it is evaluated, then that is told as ever
    data = examples(FEW + 2)
    data.inputs[-1] = np.nan
    with pytest.raises(RuntimeError, match="no luck"):
        evaluated(2, Workload(), data)
