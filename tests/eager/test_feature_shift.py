"""Clients whose features are shifted against each other, and a net with batch normalisation: metrics by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from celeriac.workloads.examples import Examples
from celeriac.workloads.torch_workload import TorchWorkload
from orchestrator.config import RunConfig
from orchestrator.federate.in_memory import Participant, simulate
from tasks.arrays import Arrays, map_file
from tasks.context import Context
from tasks.messages import TrainOptions
from tasks.workload import ClientData, DataSource, Part

SHIFTS = {"anna": -3.0, "bert": 0.0, "carl": 5.0}
SIZES = {"anna": 60, "bert": 90, "carl": 150}


class Shifted(TorchWorkload):
    """Points of a plane, and whether their first coordinate is the greater, seen with each client's own shift."""

    def build_model(self, context: Context) -> nn.Module:
        return nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))

    def client_data(self, source: DataSource) -> ClientData:
        name = list(SHIFTS)[source.part.index]
        train, test = shifted(name, 1, SIZES[name]), shifted(name, 2, 40 + 10 * source.part.index)
        return ClientData(train, test, len(train))

    def holdout_data(self, folder: Path | None) -> Examples:
        return shifted("bert", 3, 50)


def shifted(name: str, seed: int, number: int) -> Examples:
    points = np.random.default_rng([seed, len(name), ord(name[0])]).normal(size=(number, 2)).astype(np.float32)
    return Examples(points + np.float32(SHIFTS[name]), (points[:, 0] > points[:, 1]).astype(np.int64))


def by_hand(model: Arrays, data: Examples) -> tuple[float, float]:
    """Loss and accuracy, in NumPy."""
    normed = (data.inputs - model["0.running_mean"]) / np.sqrt(model["0.running_var"] + 1e-5)
    logits = (normed * model["0.weight"] + model["0.bias"]) @ model["1.weight"].T + model["1.bias"]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    losses = -np.log(probabilities[np.arange(len(data)), data.targets])
    return float(losses.mean()), float((logits.argmax(axis=1) == data.targets).mean())


def test_statistics_are_the_clients_mean_and_each_clients_metrics_are_of_its_own_data(tmp_path: Path) -> None:
    # Given a round of three clients with shifted features
    options = TrainOptions(epochs=3, batch_size=10, learning_rate=0.1)
    config = RunConfig(run_id="run", workload=f"{__name__}:Shifted", num_clients=3, rounds=1, options=options)
    participants = {name: Participant(Part(index, 3), Shifted()) for index, name in enumerate(SHIFTS)}
    folder = simulate(config, participants, tmp_path)
    model, record = map_file(folder.checkpoint(1)), folder.history()[0]
    # Then the model's running mean is between the clients' shifts, by their examples
    shift = sum(SIZES[name] * SHIFTS[name] for name in SHIFTS) / sum(SIZES.values())
    assert model["0.running_mean"] == pytest.approx([shift, shift], abs=0.5)
    # And loss and accuracy, at each client and held out, are what they are by hand
    tests = {name: participants[name].workload.client_data(DataSource(part=Part(index, 3))).test
             for index, name in enumerate(SHIFTS)}  # fmt: skip
    for name, test in tests.items():
        loss, accuracy = by_hand(model, test)
        assert record.client_evaluations[name] == pytest.approx({"loss": loss, "accuracy": accuracy}, rel=1e-4)
    loss, accuracy = by_hand(model, shifted("bert", 3, 50))
    assert record.metrics == pytest.approx({"loss": loss, "accuracy": accuracy}, rel=1e-4)
    # And the clients' mean is by their examples, with the worst of them beside it
    weights = [len(test) for test in tests.values()]
    accuracies = [record.client_evaluations[name]["accuracy"] for name in tests]
    assert record.client_metrics["accuracy"] == pytest.approx(np.average(accuracies, weights=weights))
    assert record.client_spread["accuracy"].worst == min(accuracies) < max(accuracies)
