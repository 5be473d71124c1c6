"""A model in bfloat16, which NumPy lacks, through whole runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from celeriac.aggregators import AGGREGATORS
from celeriac.algorithms import ALGORITHMS
from celeriac.workloads.examples import Examples
from celeriac.workloads.torch_workload import TorchWorkload
from orchestrator.federate.in_memory import Participant, simulate
from tasks import arrays
from tasks.context import Context
from tasks.messages import TrainOptions
from tasks.workload import ClientData, DataSource, Part
from tests.support import run_config


class Half(TorchWorkload):
    """Says on which side of a line points lie, in bfloat16."""

    def build_model(self, context: Context) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)).bfloat16()

    def client_data(self, source: DataSource) -> ClientData:
        return ClientData(points(source.part.index, 96), points(10 + source.part.index, 40), 96)

    def holdout_data(self, folder: Path | None) -> Examples:
        return points(99, 100)


def points(seed: int, number: int) -> Examples:
    inputs = np.random.default_rng(seed).uniform(-1, 1, (number, 2)).astype(np.float32)
    return Examples(inputs, (inputs.sum(axis=1) > 0).astype(np.int64))


def check_run(path: Path, **settings: object) -> None:
    """Run two rounds with three clients, and check the model that they end with."""
    config = run_config(
        workload=f"{__name__}:{Half.__name__}", num_clients=3, rounds=2,
        options=TrainOptions(epochs=1, batch_size=16, learning_rate=0.3), **settings,
    )  # fmt: skip
    clients = {client_id: Participant(Part(index, 3), Half()) for index, client_id in enumerate(("a", "b", "c"))}
    folder = simulate(config, clients, path, lambda _: None)
    history = folder.history()
    assert [record.status for record in history] == ["closed"] * 2
    start, end = (arrays.map_file(folder.checkpoint(number)) for number in (0, 2))
    codes = {entry.dtype for name, entry in arrays.spec_of(end).items() if "num_batches" not in name}
    assert codes == {"BF16"}
    assert all(np.isfinite(values).all() for name, values in end.items())
    assert any(end[name].tobytes() != start[name].tobytes() for name in end)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm_trains_it(tmp_path: Path, algorithm: str) -> None:
    # Given three clients, when they train it by the algorithm, then a model of bfloat16 has moved
    check_run(tmp_path, algorithm=algorithm)


@pytest.mark.parametrize("compression", ["int8", "bf16", "topk:0.1"])
def test_every_compression_carries_it(tmp_path: Path, compression: str) -> None:
    # Given three clients, when their updates are compressed, then a model of bfloat16 has moved
    check_run(tmp_path, compression=compression)


@pytest.mark.parametrize("aggregator", sorted(AGGREGATORS))
def test_every_aggregator_aggregates_it(tmp_path: Path, aggregator: str) -> None:
    # Given three clients, when their updates are aggregated, then a model of bfloat16 has moved
    check_run(tmp_path, aggregator=aggregator)


@pytest.mark.parametrize("verify", ["holdout", "cosine", "norm", "peers"])
def test_scorers_judge_it(tmp_path: Path, verify: str) -> None:
    # Given three clients, when their updates are scored, then a model of bfloat16 has moved
    check_run(tmp_path, verify=(verify,))
