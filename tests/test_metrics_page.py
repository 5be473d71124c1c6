"""The code of docs/metrics.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.context import Context
from tasks.metrics import Metric

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"


@pytest.fixture
def page() -> dict[str, Any]:
    """What the page's code defines."""
    found: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        exec(block, found)
    return found


def test_the_pages_declaration_is_one(page: dict[str, Any]) -> None:
    assert page["Study"].known_metrics["rmse"] == Metric("lower", "clients", least=0)


def test_the_pages_regression_measures_what_it_says(page: dict[str, Any]) -> None:
    # Given a model that is always 0.5 too high, but for that exact
    workload = page["Heights"]()
    model = {"weight": np.array([[2.0, 1.0]], np.float32), "bias": np.array([1.0], np.float32)}
    # When it is evaluated, then that is its rmse, a half squared its loss, and there is no accuracy
    data = workload.holdout_data(None)
    evaluation = workload.evaluate(model, data, Context())
    assert evaluation.loss == pytest.approx(0.25)
    assert set(evaluation.metrics) == {"r2", "rmse"}
    assert float(evaluation.metrics["rmse"]) == pytest.approx(0.5)
    assert float(evaluation.metrics["r2"]) == pytest.approx(1 - 0.25 / data.targets.var(), rel=1e-5)
