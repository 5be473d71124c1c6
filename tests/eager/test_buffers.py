"""A net with batch normalisation through the whole flow: what is trained is judged, its statistics apart."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from celeriac.workloads.datasets.digits import Digits
from orchestrator.config import RunConfig
from orchestrator.federate.in_memory import Participant, simulate
from orchestrator.store.run_folder import RunFolder
from tasks.arrays import Array, Arrays
from tasks.context import Context
from tasks.messages import Status, TrainOptions
from tasks.workload import Part, TrainResult

NET = f"{__name__}:batch_norm_mlp"
HOSTILE = {"client-02", "client-05", "client-09"}
CLIENTS = [f"client-{number:02d}" for number in range(1, 11)]


def batch_norm_mlp(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """A perceptron whose hidden layer is normalised by batches: 64 means, 64 variances and a count aren't trained."""
    inputs = nn.Linear(math.prod(image_shape), 64)
    return nn.Sequential(nn.Flatten(), inputs, nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, num_classes))


class Falsifying(Digits):
    """Trains honestly, and falsifies each array of the result."""

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        result = super().train(parameters, data, context)
        found = {name: self.falsify(name, parameters[name], values) for name, values in result.parameters.items()}
        return replace(result, parameters=found)

    def falsify(self, name: str, start: Array, trained: Array) -> Array:
        return trained


class SignFlip(Falsifying):
    """Sends the opposite of what was trained, and honest statistics."""

    def falsify(self, name: str, start: Array, trained: Array) -> Array:
        return trained if name in self.buffer_names(Context()) else 2 * start - trained


class SpoiltStatistics(Falsifying):
    """Sends what was trained, and statistics ten times as large as they are."""

    FACTOR = 10

    def falsify(self, name: str, start: Array, trained: Array) -> Array:
        return self.FACTOR * trained if "running" in name else trained


class NonsenseStatistics(SpoiltStatistics):
    """Sends statistics a thousand times as large."""

    FACTOR = 1000


def federated(path: Path, hostile: type[Digits], verify: tuple[str, ...], **changes: Any) -> RunFolder:
    """Two rounds of ten clients, three of them hostile."""
    config = RunConfig(
        run_id="run",
        workload=f"digits,net={NET}",
        num_clients=len(CLIENTS),
        rounds=2,
        verify=verify,
        num_byzantine=len(HOSTILE),
        options=TrainOptions(batch_size=24, learning_rate=0.05),
        seed=1,
        evaluate_clients=False,
        **changes,
    )
    participants = {
        name: Participant(Part(index, len(CLIENTS)), (hostile if name in HOSTILE else Digits)(net=NET))
        for index, name in enumerate(CLIENTS)
    }
    return simulate(config, participants, path)


def rejected(folder: RunFolder) -> list[set[str]]:
    """Who was rejected in each round."""
    return [
        {name for name, slot in record.responses.items() if slot.status is Status.REJECTED}
        for record in folder.history()
    ]


@pytest.mark.parametrize("scorer", ["cosine", "krum", "fltrust"])
def test_flipped_signs_are_told_whatever_the_statistics_are(tmp_path: Path, scorer: str) -> None:
    # Given statistics that are far longer than what is trained, and alike whoever sends them
    folder = federated(tmp_path, SignFlip, (scorer,))
    # When updates are scored, then the three that turn their signs are dropped, and nobody else
    assert rejected(folder) == [HOSTILE, HOSTILE]


@pytest.mark.parametrize("scorer", ["norm", "cosine", "fltrust"])
def test_spoilt_statistics_with_honest_training_are_outliers_where_updates_are_verified(
    tmp_path: Path, scorer: str
) -> None:
    # Given three clients that train honestly, and whose statistics are ten times as large as they should be
    folder = federated(tmp_path, SpoiltStatistics, (scorer,))
    # When updates are verified, then they are dropped for that, though scorers look at what is trained alone
    for record, dropped in zip(folder.history(), rejected(folder), strict=True):
        assert dropped >= HOSTILE
        assert all("its change of the buffers has length" in record.responses[name].reason for name in HOSTILE)
        assert all("buffers" not in record.responses[name].reason for name in dropped - HOSTILE)


def test_statistics_out_of_all_proportion_are_dropped_without_being_asked_for(tmp_path: Path) -> None:
    # Given three whose statistics are a thousand times as large, and no verification
    folder = federated(tmp_path, NonsenseStatistics, ())
    # Then they are dropped all the same, and the model learns
    assert rejected(folder) == [HOSTILE, HOSTILE]
    assert folder.history()[-1].metrics["accuracy"] > 0.8
