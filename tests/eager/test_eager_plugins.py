"""Selectors, aggregators and algorithms that a run names, through Celery's eager mode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks import arrays
from tasks.context import Context
from tasks.messages import Status
from tasks.seeds import context_seed
from tasks.workload import TrainResult
from tests.eager.federation import (
    EXAMPLES,
    Federation,
    bits,
    fedavg,
    local_training,
    model_of,
)
from tests.support import Pull


def test_a_single_client_that_peers_cant_score_is_taken(federation: Federation) -> None:
    # Given a client alone, when peers are to verify, then its update is taken, without a score
    federation.registry.announcements.clear()
    federation.join("anna")
    [record] = federation.run(num_clients=1, rounds=1, verify=("peers",)).history()
    response = record.responses["anna"]
    assert (record.status, response.status, response.scores, response.scored_by) == ("closed", Status.TRAINED, {}, {})


def test_an_aggregator_of_ones_own_gets_what_nearest_neighbours_have_mixed(federation: Federation) -> None:
    # Given a fourth client that sends a point far off, and an aggregator of one's own that takes the first update
    class Far(Pull):
        def train(self, *arguments: Any, **rest: Any) -> TrainResult:
            result = super().train(*arguments, **rest)
            return replace(result, parameters={**result.parameters, "point": np.full(3, 9, np.float32)})

    federation.join("dora", Far())
    # When two rounds are run in which one of four may be hostile
    aggregator = "tests.support:aggregate_first"
    folder = federation.run(rounds=2, num_clients=4, num_byzantine=1, mix=("nnm",), aggregator=aggregator)
    # Then the model is each time the mean of the three that are near to each other, whatever they weigh
    assert [record.status for record in folder.history()] == ["closed", "closed"]
    for number in (1, 2):
        model = arrays.map_file(folder.checkpoint(number - 1))
        updates = [local_training(model, folder.config(), number, client_id) for client_id in EXAMPLES]
        mean = np.mean([update["point"] for update in updates], axis=0, dtype=np.float64).astype(np.float32)
        assert arrays.map_file(folder.checkpoint(number))["point"].tolist() == mean.tolist()


@pytest.mark.parametrize("changes", [{"fraction": 0.5, "select": "random"}, {"cohort": 2}], ids=["fraction", "cohort"])
def test_as_many_clients_as_are_to_be_are_selected_in_every_round(
    federation: Federation, changes: dict[str, Any]
) -> None:
    # Given three clients, when half of them, or two, are to train, then ceil(1.5) = 2 do, not always the same
    folder = federation.run(rounds=8, **changes)
    cohorts = [tuple(record.cohort) for record in folder.history()]
    assert {len(cohort) for cohort in cohorts} == {2}
    assert len(set(cohorts)) > 1
    assert all(list(record.responses) == record.cohort for record in folder.history())
    model_bytes = folder.checkpoint(0).stat().st_size
    assert {record.bytes_down for record in folder.history()} == {2 * model_bytes}


@pytest.mark.parametrize(
    ("select", "cohort"), [("connected", ["anna", "bert"]), ("tests.support:select_last", ["bert", "carl"])]
)
def test_the_selector_decides_who_trains(federation: Federation, select: str, cohort: list[str]) -> None:
    # Given a selector by name, or the user's own, when rounds are run, then its cohort is the one
    folder = federation.run(fraction=0.5, select=select)
    assert [record.cohort for record in folder.history()] == [cohort] * 3
    assert model_of(folder, 3) == bits(fedavg(folder.config(), cohort))


def test_an_algorithm_of_ones_own_is_used(federation: Federation) -> None:
    # Given an algorithm that weighs all clients the same
    folder = federation.run(rounds=1, algorithm="tests.support:EQUAL_WEIGHTS")
    # When a round is run, then the model is the plain mean of the three
    config = folder.config()
    model = Pull().initial_parameters(Context(seed=context_seed(config.seed, 0, "initial parameters")))
    updates = [local_training(model, config, 1, client_id)["point"].astype(np.float64) for client_id in EXAMPLES]
    expected = ((updates[0] + updates[1] + updates[2]) / 3).astype(np.float32)
    assert arrays.map_file(folder.checkpoint(1))["point"].tolist() == expected.tolist()
