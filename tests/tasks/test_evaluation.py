from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from tasks.evaluation import Evaluation
from tasks.metrics import Metric


def test_what_is_shown_is_the_loss_and_the_metrics_that_are_numbers() -> None:
    # Given an AUC of one class alone, when it is shown, then the rest is, and the AUC is told of
    evaluation = Evaluation(0.5, 3, {"auc": math.nan, "accuracy": 0.25})
    assert evaluation.shown() == {"loss": 0.5, "accuracy": 0.25}
    assert evaluation.unknown() == "auc is nan"
    assert evaluation.problem() == ""


@pytest.mark.parametrize(
    ("evaluation", "problem", "shown"),
    [
        (Evaluation(math.nan, 3, {"accuracy": 0.25}), "the loss is nan", {"accuracy": 0.25}),
        (Evaluation(math.inf, 3), "the loss is inf", {}),
        (Evaluation(0.0, 0, {"accuracy": 0.0}), "there are no held-out examples", {}),
        (Evaluation(None, 3), "evaluate() returned neither a loss nor a metric", {}),
        (Evaluation(None, 3, {"auc": 0.75}), "", {"auc": 0.75}),
    ],
)
def test_a_model_that_cant_be_judged_is_told_as_that(
    evaluation: Evaluation, problem: str, shown: Mapping[str, float]
) -> None:
    # Given an evaluation, when it is looked at, then what is wrong with it is told, and no number that is none
    assert (evaluation.problem(), evaluation.shown()) == (problem, shown)


def test_the_former_form_is_refused_with_what_is_needed() -> None:
    # Given a loss, an accuracy and a number of examples, when they are given, then the error says how it is now
    with pytest.raises(TypeError, match=r'metrics 10: a dict of numbers by name is needed, like .*{"accuracy": 0\.9}'):
        Evaluation(0.5, 0.5, 10)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("declared", "metrics", "name", "score"),
    [
        ({}, {"accuracy": 0.25, "auc": 0.75}, "accuracy", 0.25),
        ({}, {"auc": 0.75}, "loss", 0.5),
        ({"auc": Metric("higher")}, {"accuracy": 0.25, "auc": 0.75}, "auc", 0.75),
        ({"auc": Metric("higher")}, {"accuracy": 0.25}, "auc", math.nan),
        ({"auc": Metric("higher"), "rmse": Metric("lower")}, {"rmse": 3.0}, "rmse", 0.25),
        ({"size": Metric(), "rmse": Metric("lower")}, {"size": 3.0, "rmse": 3.0}, "rmse", 0.25),
        ({"rmse": Metric("lower")}, {"rmse": -3.0}, "rmse", math.nan),
        ({}, {"accuracy": math.nan}, "accuracy", math.nan),
    ],
)
def test_a_model_is_judged_by_what_is_declared_first_then_by_accuracy_then_by_loss(
    declared: Mapping[str, Metric], metrics: Mapping[str, float], name: str, score: float
) -> None:
    # Given an evaluation with a loss of 1, when it is scored, then less of what is better lower scores more, up to 1
    evaluation = Evaluation(1.0, 3, metrics)
    assert evaluation.judged_by(declared) == name
    assert evaluation.score(name, declared) == pytest.approx(score, nan_ok=True)
