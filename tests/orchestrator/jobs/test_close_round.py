from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

import tests.support
from celeriac.aggregators import AggregatorContext
from celeriac.algorithms import Algorithm, ServerRound, State
from orchestrator.jobs.evaluation import evaluate_model
from orchestrator.store.records import ClosedRound, Evaluated, OpenRound, SlotRecord
from orchestrator.store.run_folder import RunFolder
from tasks import arrays
from tasks.arrays import Array, Arrays
from tasks.context import Context, TimeBudget
from tasks.evaluation import Evaluation
from tasks.messages import Status, TrainOptions
from tasks.seeds import context_seed, generator
from tasks.workload import TrainResult
from tests.orchestrator.jobs.rounds import (
    MODEL,
    WITH_BUFFERS,
    Part,
    close_round,
    folder_in,
    initialise,
    part,
    parts_of,
    taken_in,
)
from tests.support import Pull, added_in_place, blob_ref, close_job, job_of, run_config

ONE_FAR_OFF = {"anna": [1, 4, 0], "bert": [2, 3, 0], "carl": [3, 2, 0], "dora": [4, 1, 0], "emil": [100, -8, 0]}


def close_open_round(folder: RunFolder, cohort: list[str]) -> ClosedRound:
    """Close round 1, whose slots are those of this cohort, with what was taken in."""
    opened = OpenRound(round_number=1, cohort=dict.fromkeys(cohort, ""), parameters=blob_ref(), started_at="")
    folder.save_open_round(opened)
    job = job_of(folder)
    return close_job(job, job.records())


def failed(client_id: str, status: Status = Status.FAILED) -> Part:
    return client_id, SlotRecord(status=status, reason="no luck")


def digest_of(path: Path) -> str:
    return blake3(path.read_bytes()).hexdigest()


def test_accepted_updates_become_the_rounds_checkpoint(tmp_path: Path) -> None:
    # Given updates of clients with 1 and 3 examples, and a client that failed
    folder = folder_in(tmp_path)
    parts = [part(folder, "bert", [8, 4, 0], 3), failed("carl"), part(folder, "anna", [0, 4, 4], 1)]
    # When the round is closed
    closed = close_round(folder, parts)
    # Then the checkpoint holds ((0, 4, 4) + 3 (8, 4, 0)) / 4, and (1 + 3 * 3) / 4 = 2.5 rounded to even
    model = arrays.map_file(folder.checkpoint(1))
    assert model["point"].tolist() == [6.0, 4.0, 1.0]
    assert model["steps"].item() == 2
    # And the record has all the answers, sorted, and what the model is worth
    assert (closed.status, closed.reason) == ("closed", "")
    assert [(name, record.status.value) for name, record in closed.responses.items()] == [
        ("anna", "trained"),
        ("bert", "trained"),
        ("carl", "failed"),
    ]
    assert closed.digest == digest_of(folder.checkpoint(1))
    evaluation = Pull().evaluate(model, Pull().holdout_data(None), Context())
    assert evaluate_model(job_of(folder)).metrics == evaluation.values


def test_an_update_that_was_cut_short_by_the_clock_counts_too(tmp_path: Path) -> None:
    # Given the update of a client whose time ran out
    folder = folder_in(tmp_path)
    late = part(folder, "anna", [1, 2, 3], status=Status.TIMED_OUT)
    # When the round is closed, then it is the model
    assert close_round(folder, [late]).status == "closed"
    assert arrays.map_file(folder.checkpoint(1))["point"].tolist() == [1.0, 2.0, 3.0]


def test_the_order_in_which_answers_came_makes_no_difference(tmp_path: Path) -> None:
    # Given three updates whose sum depends on the order: 2**53 swallows 1, in a sum of float64
    folder = folder_in(tmp_path)
    values = {"anna": 2.0**53, "bert": 1.0, "carl": -(2.0**53)}
    for client_id, value in values.items():
        part(folder, client_id, [value, 0, 0], 1)
    # When the round is closed with their slots in two orders
    first = close_open_round(folder, ["anna", "bert", "carl"])
    second = close_open_round(folder, ["carl", "anna", "bert"])
    # Then they are summed by client: (2**53 + 1) - 2**53 = 0
    assert first.digest == second.digest
    assert arrays.map_file(folder.checkpoint(1))["point"][0] == 0.0


@pytest.mark.parametrize("status", [Status.FAILED, Status.LOST, Status.REJECTED, Status.LATE])
def test_too_few_updates_keep_the_model_and_say_why(tmp_path: Path, status: Status) -> None:
    # Given one update where two are needed
    folder = folder_in(tmp_path, min_updates=2)
    parts = [part(folder, "anna", [1, 2, 3]), failed("bert", status)]
    # When the round is closed
    closed = close_round(folder, parts)
    # Then it failed, and the model is what it was
    assert closed.status == "failed"
    assert closed.reason == "1 updates were accepted, 2 are needed (--min-updates)"
    assert list(closed.responses) == ["anna", "bert"]
    assert folder.checkpoint(1).read_bytes() == folder.checkpoint(0).read_bytes()
    assert closed.digest == digest_of(folder.checkpoint(0))


def test_a_failed_round_is_closed_again_over_what_was_there(tmp_path: Path) -> None:
    # Given a round that failed, and one that was closed by a former worker
    folder = folder_in(tmp_path)
    accepted = close_round(folder, [part(folder, "anna", [1, 2, 3])])
    # When it is closed without an update, and then with one again
    without = close_round(folder, [failed("anna")])
    again = close_round(folder, [part(folder, "anna", [9, 9, 9])])
    # Then each time its checkpoint is what was asked for last, and the former round's is untouched
    assert without.digest == digest_of(folder.checkpoint(0))
    assert again.digest == accepted.digest == digest_of(folder.checkpoint(1))
    assert arrays.map_file(folder.checkpoint(0))["point"].tolist() == [0.0, 0.0, 0.0]


def test_an_algorithm_of_ones_own_weighs_in_its_own_way(tmp_path: Path) -> None:
    # Given an algorithm that gives all clients the same weight, and clients with 1 and 3 examples
    folder = folder_in(tmp_path, algorithm="tests.support:EQUAL_WEIGHTS")
    parts = [part(folder, "anna", [0, 4, 4], 1), part(folder, "bert", [8, 4, 0], 3)]
    # When the round is closed, then the checkpoint is the plain mean
    close_round(folder, parts)
    assert arrays.map_file(folder.checkpoint(1))["point"].tolist() == [4.0, 4.0, 2.0]


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


def test_fltrust_trains_on_the_held_out_data_and_moves_as_far(tmp_path: Path) -> None:
    # Given the model that training on the held-out points gives, as the scorer of the same name would have it
    folder = folder_in(tmp_path, aggregator="fltrust")
    config, data = folder.config(), Pull().holdout_data(None)
    seed = context_seed(config.seed, 1, "root data")
    trained = Pull().train(MODEL, data, Context(options=config.options, seed=seed, budget=TimeBudget(60)))
    root = trained.parameters["point"].astype(np.float64)
    # When a client that goes ten times as far, one that goes backwards, and one that does nothing are aggregated
    closed = close_round(folder, parts_of(folder, {"anna": 10 * root, "bert": -root, "carl": 0 * root}))
    # Then the model is where the root is, and the counter the median of the clients'
    assert closed.status == "closed"
    model = arrays.map_file(folder.checkpoint(1))
    assert model["point"].tolist() == pytest.approx(root.tolist(), rel=1e-6)
    assert model["steps"].item() == 5


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


class BadRoot(Pull):
    """Trains as it is told to, at the orchestrator."""

    act: Any = None

    def train(self, *_: Any, **__: Any) -> Any:
        return type(self).act()


def raise_at_root() -> None:
    raise RuntimeError("root boom")


def trained_to(point: Array) -> TrainResult:
    return TrainResult({**MODEL, "point": point}, 1, 1, 1.0)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (raise_at_root, r"^train\(\) on the held-out data: RuntimeError: root boom \(test_close_round\.py, line"),
        (lambda: None, r"^train\(\) returned NoneType: a TrainResult"),
        (lambda: trained_to(np.zeros(7, np.float32)), r"is F32 \(7,\), the mod"),
        (lambda: trained_to(np.full(3, np.nan, np.float32)), "array 'point' has values that are NaN"),
    ],
)
def test_what_goes_wrong_with_training_at_the_orchestrator_fails_the_round_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Any, reason: str
) -> None:
    # Given an aggregator that trains on the held-out data, and a workload that does something else there
    monkeypatch.setattr(BadRoot, "act", staticmethod(act))
    folder = folder_in(tmp_path, aggregator="fltrust", workload=f"{__name__}:BadRoot")
    # When a round is closed, then it failed, for that
    closed = close_round(folder, [part(folder, "anna", [1, 2, 3])])
    assert closed.status == "failed"
    assert re.search(reason, closed.reason), closed.reason


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


def test_without_held_out_data_there_are_no_metrics(tmp_path: Path) -> None:
    # Given a workload that has none
    folder = folder_in(tmp_path, workload="tests.support:WithoutHoldout")
    # When a run of it is initialised and a round closed, then nothing is made up
    assert initialise(folder) == Evaluated()
    close_round(folder, [part(folder, "anna", [1, 2, 3])])
    assert evaluate_model(job_of(folder)) == Evaluated()


@pytest.mark.parametrize(
    ("loss", "accuracy", "metrics", "problem"),
    [
        (float("inf"), 0.25, {"accuracy": 0.25}, "the loss is inf"),
        (0.5, float("nan"), {"loss": 0.5}, "accuracy is nan"),
        (None, 0.25, {"accuracy": 0.25}, ""),
    ],
    ids=["infinite loss", "accuracy of 0 of 0", "no loss"],
)
def test_a_loss_that_is_no_number_and_an_accuracy_that_is_none_are_not_recorded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loss: float | None,
    accuracy: float,
    metrics: dict[str, float],
    problem: str,
) -> None:
    # Given a workload that evaluates in its own way
    class Own(Pull):
        def evaluate(self, parameters: arrays.Arrays, data: Any, context: Context) -> Evaluation:
            return Evaluation(loss, 1, {"accuracy": accuracy})

    monkeypatch.setattr(tests.support, "Own", Own, raising=False)
    folder = folder_in(tmp_path, workload="tests.support:Own")
    # When a run of it is initialised and a round closed, then the other metric is all, and what is no number is told
    close_round(folder, [part(folder, "anna", [1, 2, 3])])
    for evaluated in (initialise(folder), evaluate_model(job_of(folder))):
        assert (evaluated.metrics, evaluated.problem) == (metrics, problem)


def moved_by_qfedavg(path: Path, mean: float) -> list[float]:
    """Where q-FedAvg takes a model whose clients say that a statistic of it is this."""
    folder = RunFolder.create(path / "run", run_config(algorithm="qfedavg"))
    folder.save_buffers({"mean"})
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


BEYOND_NUMBERS = Algorithm(name="beyond", step=lambda server: ({**server.target, "point": np.full(3, np.inf)}, {}))
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
        ({"algorithm": f"{__name__}:FAILING"}, "its updates .*"),
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
    folder.save_buffers({"steps"})
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
