from __future__ import annotations

import pytest

from orchestrator.goal import Goal, parse_goal
from tasks.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("auc>=0.98", Goal("auc", ">=", 0.98)),
        (" loss <= 1e-3 ", Goal("loss", "<=", 0.001)),
        ("f1 (macro) >= .5", Goal("f1 (macro)", ">=", 0.5)),
        ("log-likelihood>=-12", Goal("log-likelihood", ">=", -12.0)),
        ("never", None),
    ],
)
def test_a_goal_is_a_metric_a_sign_and_a_number(text: str, goal: Goal | None) -> None:
    assert parse_goal(text) == goal
    assert goal is None or parse_goal(str(goal)) == goal


@pytest.mark.parametrize(
    "text", ["", "auc", "auc>0.98", "auc=0.98", "auc>=", ">=0.98", "auc>=high", "auc>=nan", "auc>=1e999"]
)
def test_what_is_no_goal_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--stop-when .*: write a metric and a number, like 'auc>=0.98' or"):
        parse_goal(text)


def test_a_goal_is_reached_by_the_number_itself_and_not_without_the_metric() -> None:
    at_least, at_most = Goal("auc", ">=", 0.5), Goal("auc", "<=", 0.5)
    assert [at_least.is_reached({"auc": value}) for value in (0.4, 0.5, 0.6)] == [False, True, True]
    assert [at_most.is_reached({"auc": value}) for value in (0.4, 0.5, 0.6)] == [True, True, False]
    assert not at_least.is_reached({"loss": 0.5})
