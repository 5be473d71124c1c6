"""By which rule a round's updates become one, and what is rejected or mixed before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celeriac.aggregators import AggregatorContext
from tasks import arrays
from tasks.messages import Status
from tasks.seeds import generator
from tests.orchestrator.jobs.rounds import (
    MODEL,
    close_open_round,
    close_round,
    folder_in,
    part,
    parts_of,
    taken_in,
)
from tests.support import added_in_place

ONE_FAR_OFF = {"anna": [1, 4, 0], "bert": [2, 3, 0], "carl": [3, 2, 0], "dora": [4, 1, 0], "emil": [100, -8, 0]}


@pytest.mark.parametrize(
    ("aggregator", "changes", "point"),
    [
        ("median", {}, [3.0, 2.0, 0.0]),
        ("trimmed_mean", {"trim": 0.4}, [3.0, 2.0, 0.0]),
        ("trimmed_mean", {"trim": 0.1, "num_byzantine": 1}, [3.0, 2.0, 0.0]),
        ("trimmed_mean", {"trim": 0.1}, [22.0, 0.4, 0.0]),
        ("multi_krum", {"num_byzantine": 1}, [2.5, 2.5, 0.0]),
        ("tests.support:aggregate_first", {}, [1.0, 4.0, 0.0]),
    ],
)
def test_the_aggregator_is_the_one_that_was_asked_for(
    tmp_path: Path, aggregator: str, changes: dict[str, Any], point: list[float]
) -> None:
    # Given five clients, of which one is far off
    folder = folder_in(tmp_path, aggregator=aggregator, **changes)
    # When the round is closed
    closed = close_round(folder, parts_of(folder, ONE_FAR_OFF))
    # Then the model is what the aggregator makes of them
    assert closed.status == "closed"
    assert arrays.map_file(folder.checkpoint(1))["point"].tolist() == pytest.approx(point)


def test_an_update_out_of_all_proportion_is_rejected_without_being_asked_for(tmp_path: Path) -> None:
    # Given five clients, one of which sends finite numbers of 1e30
    folder = folder_in(tmp_path)
    firsts = {"anna": 1.0, "bert": 2.0, "carl": 1e30, "dora": 3.0, "emil": 4.0}
    points = {client_id: [first, 0, 0] for client_id, first in firsts.items()}
    # When the round is closed
    closed = close_round(folder, parts_of(folder, points))
    # Then it is rejected with the reason, and the model is the mean of the others
    assert closed.responses["carl"].status is Status.REJECTED
    assert closed.responses["carl"].reason == (
        "its change of the parameters has length 1e+30, the median of all is 3: at most 300 is allowed"
    )
    assert arrays.map_file(folder.checkpoint(1))["point"].tolist() == [2.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "point"),
    [
        # the nearest four: 1, 2, 3, 4 for each of the first four, 100, 4, 3, 2 and -8, 1, 2, 3 for the last
        ({"mix": ("nnm",), "num_byzantine": 1, "aggregator": "median"}, [2.5, 2.5, 0.0]),
        # (4 * 2.5 + 27.25) / 5 and (4 * 2.5 - 0.5) / 5: a mean stands nobody hostile
        ({"mix": ("nnm",), "num_byzantine": 1}, [7.45, 1.9, 0.0]),
        # the nearest three of the first: 1, 2, 3
        ({"mix": ("nnm",), "num_byzantine": 2, "aggregator": "tests.support:aggregate_first"}, [2.0, 3.0, 0.0]),
        # one bucket of all
        ({"mix": ("bucketing:5", "nnm"), "num_byzantine": 1, "aggregator": "median"}, [22.0, 0.4, 0.0]),
    ],
)
def test_updates_are_mixed_as_was_asked_for_and_weigh_the_same(
    tmp_path: Path, changes: dict[str, Any], point: list[float]
) -> None:
    # Given five clients, of which one is far off and claims to have the most examples
    folder = folder_in(tmp_path, **changes)
    parts = [part(folder, name, values, 99 if name == "emil" else 5) for name, values in ONE_FAR_OFF.items()]
    before = sorted(tmp_path.rglob("*"))
    # When the round is closed
    closed = close_round(folder, parts)
    # Then the model is what the aggregator makes of the mixed ones, and of what a client counts it is the median
    assert closed.status == "closed"
    model = arrays.map_file(folder.checkpoint(1))
    assert model["point"].tolist() == pytest.approx(point)
    assert model["steps"].item() == 5
    # And nothing but the checkpoint was left in the run's folder
    assert set(tmp_path.rglob("*")) - set(before) == {folder.checkpoint(1)}


def test_buckets_are_drawn_by_the_seed_and_the_round(tmp_path: Path) -> None:
    # Given four clients whose points tell who is in the first bucket of two
    points = {"anna": [1, 0, 0], "bert": [2, 0, 0], "carl": [4, 0, 0], "dora": [8, 0, 0]}

    def first_bucket(seed: int) -> float:
        changes = {"mix": ("bucketing:2",), "aggregator": "tests.support:aggregate_first", "seed": seed}
        folder = folder_in(tmp_path / f"{seed}", **changes)
        parts_of(folder, points)
        digests = [close_open_round(folder, names).digest for names in (list(points), list(points)[::-1])]
        # And the order in which they came makes no difference
        assert digests[0] == digests[1]
        return float(arrays.map_file(folder.checkpoint(1))["point"][0])

    # When rounds are closed by several seeds, then it is who the generator of seed and round draws
    for seed in range(5):
        drawn = generator(seed, 1, "mix").permutation(4)[:2]
        assert first_bucket(seed) == sum([1, 2, 4, 8][index] for index in drawn) / 2


def test_whole_numbers_grow_no_larger_than_honest_clients_may_count_on_from(tmp_path: Path) -> None:
    # Given a client that sends the largest number that is allowed
    folder = folder_in(tmp_path)
    liar = taken_in(folder, "anna", {**MODEL, "steps": np.array(2**53)})
    assert liar[1].status is Status.TRAINED
    # When the round is closed, then the model has half as much, and who counts on from there is taken in
    assert close_round(folder, [liar]).status == "closed"
    steps = arrays.map_file(folder.checkpoint(1))["steps"]
    assert steps == 2**52
    _, record = taken_in(folder, "bert", {**MODEL, "steps": np.asarray(steps + 10**6)}, round_number=2)
    assert record.status is Status.TRAINED


def scribble(updates: Any, context: AggregatorContext) -> dict[str, Any]:
    """Write to the model that the round started from, and return the first update."""
    added_in_place(context.origin["point"])
    return dict(updates[0].parameters)


def test_an_aggregator_that_writes_to_the_model_changes_nobody_elses(tmp_path: Path) -> None:
    # Given FedAvgM, whose step reads the model again, behind such an aggregator
    folder = folder_in(tmp_path, aggregator=f"{__name__}:scribble", algorithm="fedavgm")
    # When a round is closed, then the model has moved by what the update changed
    close_round(folder, [part(folder, "anna", [1, 2, 3])])
    assert arrays.map_file(folder.checkpoint(1))["point"].tolist() == [1.0, 2.0, 3.0]
    assert arrays.map_file(folder.state(1))["@v/point"].tolist() == [1.0, 2.0, 3.0]
