"""Finite nonsense through the whole flow with default options: five clients on the digits, one of them hostile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.attacks import POINT
from celeriac.workloads.datasets.digits import Digits
from orchestrator.config import RunConfig
from orchestrator.federate.in_memory import Participant, simulate
from orchestrator.store.run_folder import RunFolder
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.messages import Status
from tasks.workload import Part, TrainResult

CLIENTS = [f"client-{number}" for number in range(1, 6)]
HOSTILE = "client-3"
ROUNDS = 5


class Nonsense(Digits):
    """Sends one number in all elements."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        result = super().train(parameters, data, context)
        filled = {name: np.full_like(values, self.number) for name, values in result.parameters.items()}
        return replace(result, parameters=filled)


def federated(path: Path, hostile: Digits | None, **changes: Any) -> RunFolder:
    """Five clients, or the four that are honest."""
    participants = {
        name: Participant(Part(index, len(CLIENTS)), Digits() if name != HOSTILE or hostile is None else hostile)
        for index, name in enumerate(CLIENTS)
        if name != HOSTILE or hostile is not None
    }
    config = RunConfig(run_id="run", num_clients=len(participants), rounds=ROUNDS, evaluate_clients=False, **changes)
    return simulate(config, participants, path)


@pytest.fixture(scope="module")
def without_it(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run of the four honest clients."""
    return federated(tmp_path_factory.mktemp("honest"), None)


@pytest.mark.parametrize("number", [1e30, -3.4e38])
def test_one_of_five_with_finite_nonsense_is_as_if_it_were_not_there(
    tmp_path: Path, number: float, without_it: RunFolder
) -> None:
    # Given five clients and no options, one of which sends large numbers
    folder = federated(tmp_path, Nonsense(number))
    # Then it is rejected in every round, and nobody else is
    for record in folder.history():
        rejected = [name for name, slot in record.responses.items() if slot.status is Status.REJECTED]
        assert rejected == [HOSTILE]
        assert "its change of the parameters has length" in record.responses[HOSTILE].reason
    # And the model is within a point of that of the honest: it is theirs, to the last bit
    final, honest = folder.history()[-1], without_it.history()[-1]
    assert final.metrics["accuracy"] >= honest.metrics["accuracy"] - POINT
    assert final.digest == honest.digest
