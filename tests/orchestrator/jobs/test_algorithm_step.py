"""How an algorithm weighs a round's updates and steps from them, and what is no step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celeriac.algorithms import Algorithm, ServerRound, State
from orchestrator.store.facts import BUFFERS
from orchestrator.store.run_folder import RunFolder
from tasks import arrays
from tasks.arrays import Arrays
from tasks.messages import TrainOptions
from tests.orchestrator.jobs.rounds import (
    WITH_BUFFERS,
    close_round,
    digest_of,
    failed,
    folder_in,
    part,
    parts_of,
    taken_in,
)
from tests.support import run_config


def test_an_algorithm_of_ones_own_weighs_in_its_own_way(tmp_path: Path) -> None:
    # Given an algorithm that gives all clients the same weight, and clients with 1 and 3 examples
    folder = folder_in(tmp_path, algorithm="tests.support:EQUAL_WEIGHTS")
    parts = [part(folder, "anna", [0, 4, 4], 1), part(folder, "bert", [8, 4, 0], 3)]
    # When the round is closed, then the checkpoint is the plain mean
    close_round(folder, parts)
    assert arrays.map_file(folder.checkpoint(1))["point"].tolist() == [4.0, 4.0, 2.0]


def moved_by_qfedavg(path: Path, mean: float) -> list[float]:
    """Where q-FedAvg takes a model whose clients say that a statistic of it is this."""
    folder = RunFolder.create(path / "run", run_config(algorithm="qfedavg"))
    BUFFERS.note(folder, ["mean"])
    arrays.write_file(folder.checkpoint(0), {"mean": np.full(3, 50.0), "point": np.zeros(3)})
    parts = []
    for client_id, first in (("anna", 3.0), ("bert", 4.0)):
        update = {"mean": np.full(3, mean), "point": np.array([first, 0, 0])}
        parts.append(taken_in(folder, client_id, update, metrics={"start_loss": 1.0}))
    assert close_round(folder, parts).status == "closed"
    model = arrays.map_file(folder.checkpoint(1))
    assert model["mean"].tolist() == pytest.approx([mean] * 3)
    return [float(value) for value in model["point"]]


def test_how_far_clients_went_is_how_far_they_went_in_what_is_trained(tmp_path: Path) -> None:
    # Given an algorithm whose step is the shorter the longer the updates are, and a statistic that is far longer
    # When it aggregates clients that agree with the model on the statistic, and clients that don't
    # Then what is trained goes as far
    assert moved_by_qfedavg(tmp_path / "a", 50.0) == moved_by_qfedavg(tmp_path / "b", 90.0)


def fail_to_step(server: ServerRound) -> tuple[Arrays, State]:
    raise ZeroDivisionError("no luck")


BEYOND_NUMBERS = Algorithm(
    name="beyond", step=lambda server: ({**server.target, "point": np.full(3, np.inf, np.float32)}, {})
)


STATE_BEYOND = Algorithm(name="beyond", step=lambda server: (server.target, {"v": {"point": np.full(3, np.nan)}}))


FAILING = Algorithm(name="failing", step=fail_to_step)


WITH_STATE = Algorithm(name="with_state", step=lambda server: (server.target, {"v": {"point": server.target["point"]}}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"min_updates": 3}, r"2 updates were accepted, 3 are needed \(--min-updates\)"),
        (
            {"aggregator": "krum", "num_byzantine": 2},
            r"krum has 2 updates of which 2 may be hostile \(--num-byzantine\): at least 7 are needed",
        ),
        ({"aggregator": "fltrust"}, "fltrust trusts none of 2 updates: all point away from the root data's"),
        ({"algorithm": f"{__name__}:BEYOND_NUMBERS"}, "its updates .*"),
        ({"algorithm": f"{__name__}:STATE_BEYOND"}, "its updates .*"),
        ({"algorithm": f"{__name__}:FAILING"}, r"step\(\) of .*:FAILING: ZeroDivisionError: no luck .*"),
    ],
)
def test_what_clients_sent_and_nothing_can_be_made_of_fails_the_round_and_not_the_run(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    # Given two clients that did nothing, of which the aggregator or the algorithm makes no model
    folder = folder_in(tmp_path, **changes)
    parts = [*parts_of(folder, {"anna": [0, 0, 0], "bert": [0, 0, 0]}), failed("carl")]
    # When the round is closed, then it failed with the reason, and the model is what it was
    closed = close_round(folder, parts)
    assert closed.status == "failed"
    assert re.fullmatch(reason, closed.reason), closed.reason
    assert list(closed.responses) == ["anna", "bert", "carl"]
    assert closed.digest == digest_of(folder.checkpoint(0))
    assert folder.checkpoint(1).read_bytes() == folder.checkpoint(0).read_bytes()
    assert not folder.state(1).exists()


def test_a_round_that_is_closed_again_as_failed_leaves_no_state_of_the_first_time(tmp_path: Path) -> None:
    # Given a round that was closed with a state, by a worker whose answer was never seen
    folder = folder_in(tmp_path, algorithm=f"{__name__}:WITH_STATE")
    assert close_round(folder, [part(folder, "anna", [1, 2, 3])]).state_digest
    assert folder.state(1).exists()
    # When it is closed again without an update, then the state is that before it: there was none
    assert close_round(folder, [failed("anna")]).state_digest == ""
    assert not folder.state(1).exists()


def test_an_algorithm_goes_no_further_with_running_statistics_than_their_mean(tmp_path: Path) -> None:
    # Given a model with statistics that an algorithm would carry beyond what was measured
    doubling = {"algorithm": f"{__name__}:DOUBLING", "workload": WITH_BUFFERS}
    folder = folder_in(tmp_path, **doubling)
    BUFFERS.note(folder, ["steps"])
    close_round(folder, [part(folder, "anna", [1, 2, 3])])
    # When the round is closed, then what is trained moved on, and the statistics are those of the clients
    model = arrays.map_file(folder.checkpoint(1))
    assert model["point"].tolist() == [2.0, 4.0, 6.0]
    assert model["steps"] == 5


DOUBLING = Algorithm(name="doubling", step=lambda server: ({name: 2 * a for name, a in server.target.items()}, {}))


@pytest.mark.parametrize(("weighting", "point"), [("examples", 3.25), ("steps", 2.5)])
def test_updates_are_weighed_by_examples_or_normalised_by_steps(tmp_path: Path, weighting: str, point: float) -> None:
    # Given clients with 30 and 10 examples that moved to 1 in one step, and to 10 in five
    folder = folder_in(tmp_path, weighting=weighting, options=TrainOptions(epochs=1, batch_size=1))
    parts = [part(folder, "anna", [1, 1, 1], 30, num_steps=1), part(folder, "bert", [10, 10, 10], 10, num_steps=5)]
    # Then by examples the model is at 0.75 * 1 + 0.25 * 10, however many steps that took; by steps each moved by 1 and
    # by 2 a step, 0.75 * 1 + 0.25 * 2 in the mean, and it goes tau_eff = 0.75 * 1 + 0.25 * 5 such steps
    close_round(folder, parts)
    model = arrays.map_file(folder.checkpoint(1))
    np.testing.assert_allclose(model["point"], point)
    assert model["point"].dtype == np.float32


@pytest.mark.parametrize("claimed", [10**12, 100])
def test_more_steps_than_the_options_allow_are_not_believed(tmp_path: Path, claimed: int) -> None:
    # Given a run of one epoch with batches of 5, and two clients with 10 examples, who can do 2 steps
    folder = folder_in(tmp_path, algorithm="fednova", options=TrainOptions(epochs=1, batch_size=5))
    steps = {"anna": 2, "bert": claimed}
    parts = [part(folder, client_id, [1, 1, 1], 10, num_steps=number) for client_id, number in steps.items()]
    # When one claims more, then the model moves as if it had said 2
    close_round(folder, parts)
    np.testing.assert_allclose(arrays.map_file(folder.checkpoint(1))["point"], [1, 1, 1])
