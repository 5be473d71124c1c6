"""FLTrust: the orchestrator trains on its held-out data as a client would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import arrays
from tasks.arrays import Array
from tasks.context import Context, TimeBudget
from tasks.seeds import context_seed
from tasks.workload import TrainResult
from tests.orchestrator.jobs.rounds import (
    MODEL,
    close_round,
    folder_in,
    part,
    parts_of,
)
from tests.support import Pull


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
        (raise_at_root, r"^train\(\) on the held-out data: RuntimeError: root boom \(test_root_training\.py, line"),
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
