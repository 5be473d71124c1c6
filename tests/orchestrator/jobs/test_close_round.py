from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tests.support
from orchestrator.jobs.evaluation import evaluate_model
from orchestrator.store.records import Evaluated
from tasks import arrays
from tasks.context import Context
from tasks.evaluation import Evaluation
from tasks.messages import Status
from tests.orchestrator.jobs.rounds import (
    close_open_round,
    close_round,
    digest_of,
    failed,
    folder_in,
    initialise,
    part,
)
from tests.support import Pull, job_of


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
