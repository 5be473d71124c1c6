from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.store.best import best_rounds, check_goes_by, goes_by, prune, why_over
from orchestrator.store.records import Evaluated
from orchestrator.store.run_folder import RunFolder
from tasks.errors import ConfigurationError
from tasks.metrics import Declared, Metric
from tests.support import run_config

AUC: Declared = {"size": Metric(), "auc": Metric("higher")}


def losses(*values: float) -> dict[int, dict[str, float]]:
    """Of the initial model, then of each round's."""
    return {number: {"loss": value, "auc": 1 - value} for number, value in enumerate(values)}


def test_the_best_models_are_those_with_the_best_metric_of_equal_ones_the_earlier() -> None:
    # Given losses, when the models are put in order, then the least loss is first, and so is the largest AUC
    by_round = losses(0.9, 0.5, 0.25, 0.5, 0.25)
    assert best_rounds(by_round, "loss", {}) == [2, 4, 1, 3, 0]
    assert best_rounds(by_round, "auc", AUC) == [2, 4, 1, 3, 0]
    # And a model without the metric is not among them
    assert best_rounds({**by_round, 5: {"auc": 1.0}}, "loss", {}) == [2, 4, 1, 3, 0]


def test_what_says_which_is_best_is_the_option_then_what_is_declared_first_then_the_loss() -> None:
    by_round = losses(0.5)
    assert goes_by(run_config(best_by="f1"), by_round, AUC) == "f1"
    assert goes_by(run_config(), by_round, AUC) == "auc"
    assert goes_by(run_config(), by_round, {"size": Metric()}) == "loss"
    # And what no model has, as it is of training alone, isn't gone by
    assert goes_by(run_config(), by_round, {"epsilon": Metric("lower"), **AUC}) == "auc"
    assert goes_by(run_config(), by_round, {"epsilon": Metric("lower")}) == "loss"


@pytest.mark.parametrize(
    ("options", "by_round", "why"),
    [
        ({"stop_when": "auc>=0.75"}, losses(0.5, 0.3), ""),
        ({"stop_when": "auc>=0.75"}, losses(0.25), ""),
        ({"stop_when": "auc>=0.75"}, losses(0.5, 0.25), "auc is 0.7500 (--stop-when auc>=0.75)"),
        ({"stop_when": "loss<=0.25"}, losses(0.25, 0.5), ""),
        ({"patience": 2}, losses(0.5, 0.25, 0.3), ""),
        ({"patience": 2}, losses(0.5, 0.25, 0.3, 0.25), "the best is round 1 with loss 0.2500 (--patience 2)"),
        ({"patience": 2}, losses(0.5, 0.6, 0.7), "the best is round 0 with loss 0.5000 (--patience 2)"),
        ({"patience": 2}, {2: {"f1": 0.5}}, "the best is round 0 with no loss (--patience 2)"),
        ({"patience": 1}, {}, ""),
        ({}, losses(0.5, 0.6, 0.7), ""),
    ],
)
def test_a_run_is_over_when_its_last_model_has_what_it_was_to_or_the_best_is_too_old(
    options: dict[str, Any], by_round: dict[int, dict[str, float]], why: str
) -> None:
    # Given what was found of each model, when it is asked whether the run is over, then the reason has both numbers
    assert why_over(run_config(**options), by_round, {}) == why


KNOWN = Evaluated(metrics={"loss": 0.5, "auc": 0.5})


@pytest.mark.parametrize(
    ("options", "initial", "message"),
    [
        (
            {"stop_when": "f1>=0.5"},
            KNOWN,
            r"^--stop-when f1>=0.5: evaluate\(\) of .* gives no f1, but loss, auc$",
        ),
        (
            {"stop_when": "auc>=0.5"},
            Evaluated(),
            r"goes by held-out data of the orchestrator, and workload .* has none: --evaluate-clients-every N",
        ),
        ({"best_by": "f1"}, KNOWN, r"^--best-by f1: evaluate\(\) of"),
        (
            {"patience": 3},
            Evaluated(metrics={"auc": 0.5}),
            r"^--patience 3: .* gives no loss, but auc$",
        ),
        (
            {"keep_best": 2, "best_by": "auc"},
            KNOWN,
            r"^--best-by auc: nobody says in which direction auc is better: declare it, like known_metrics = ",
        ),
    ],
)
def test_a_metric_that_there_isnt_is_refused_with_those_there_are(
    options: dict[str, Any], initial: Evaluated, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_goes_by(run_config(**options), initial, {})


def test_a_metric_that_may_come_is_let_pass() -> None:
    # Given an initial model without a loss, or an AUC that is declared, when they are gone by, then that is allowed
    check_goes_by(run_config(patience=3), Evaluated(metrics={"f1": 0.5}, problem="the loss is nan"), {})
    check_goes_by(
        run_config(stop_when="f1>=0.5"), Evaluated(metrics={"loss": 0.5}, problem="auc is nan, f1 is nan"), {}
    )
    check_goes_by(run_config(stop_when="auc>=0.5", keep_best=1), Evaluated(metrics={"loss": 0.5}), AUC)
    # And what only clients will say isn't known before
    check_goes_by(run_config(stop_when="f1>=0.5", evaluate_clients_every=2), Evaluated(), {})
    # And where nothing is gone by, held-out data isn't needed
    check_goes_by(run_config(), Evaluated(), {})


def test_checkpoints_that_are_not_kept_are_removed_with_the_state_beside_them(tmp_path: Path) -> None:
    # Given four checkpoints with states, and a file of the user's own
    folder = RunFolder.create(tmp_path / "run", run_config())
    for number in range(4):
        folder.checkpoint(number).touch()
        folder.state(number).touch()
    (folder.checkpoints / "round-best.safetensors").touch()
    # When those before round 3 are pruned but for that of round 1, then the others are gone, with their states
    prune(folder, {1}, before=3)
    names = {path.name for path in folder.checkpoints.iterdir()}
    assert names == {
        *(f"round-000{number}{end}.safetensors" for number in (1, 3) for end in ("", ".state")),
        "round-best.safetensors",
    }
