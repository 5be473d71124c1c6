"""The examples of results that aren't the model, each run by its own command: what comes out is what is right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.datasets import load_waltons
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from tasks import arrays
from tests.integration.harness import Field, checkpoint, history, summary
from tests.integration.test_own_code import documented

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    """Starts programs; they end with the test."""
    started = Field(tmp_path)
    yield started
    started.end()


def run(field: Field, folder: Path, name: str) -> Path:
    """Run an example in a copy of its folder; return the run's."""
    study = folder / name
    shutil.copytree(EXAMPLES / name, study)
    field.start("orchestrator", "orchestrator.start", "study.toml", "--run-dir", "run", cwd=study).succeeds()
    return study / "run"


def test_a_survival_curve_is_that_of_all_patients_in_one_table(field: Field, tmp_path: Path) -> None:
    # Given five clients with a fifth of the patients each, when their counts have been added up
    found = arrays.decode(checkpoint(run(field, tmp_path, "kaplan-meier"), 1))["survival"]

    # Then the curve is the one that lifelines makes of all of them
    patients = load_waltons()
    pooled = KaplanMeierFitter().fit(patients["T"], patients["E"]).survival_function_at_times(np.arange(1, 81))
    np.testing.assert_allclose(found, pooled, rtol=0, atol=1e-12)


def test_newtons_method_gives_the_weights_of_the_pooled_data(field: Field, tmp_path: Path) -> None:
    # Given four clients with a quarter of the patients each, when they have trained for ten rounds
    found = arrays.decode(checkpoint(run(field, tmp_path, "newton"), 10))["weights"]

    # Then the weights are those that scikit-learn finds on all of them in one table
    inputs, targets = load_breast_cancer(return_X_y=True)
    inputs = np.column_stack([scale(inputs), np.ones(len(inputs))])
    pooled = LogisticRegression(fit_intercept=False, solver="newton-cholesky", tol=1e-12).fit(inputs, targets)
    np.testing.assert_allclose(found, pooled.coef_[0], rtol=0, atol=1e-10)


def test_trees_are_sent_once_and_nothing_else_is(field: Field, tmp_path: Path) -> None:
    # Given four clients that grow a tree each, in ten rounds
    run_dir = run(field, tmp_path, "xgboost")
    forests = [arrays.decode(checkpoint(run_dir, number))["trees"].tobytes() for number in range(11)]

    for number, record in enumerate(history(run_dir), 1):
        # When a round is over, then the forest is the one before with four trees more
        new = forests[number].removeprefix(forests[number - 1])
        assert len(forests[number]) == len(forests[number - 1]) + len(new)
        trees = new.splitlines(keepends=True)
        assert all(json.loads(tree)["tree_param"] for tree in trees)
        # And what was sent is these, each with the head of its file
        sizes = [response["size_bytes"] for _, response in sorted(record["responses"].items())]
        assert [size - len(tree) for size, tree in zip(sizes, trees, strict=True)] == pytest.approx([72] * 4, abs=8)

    # And the forest is better than any guess; no client holds patients out, and none is missed
    assert summary(run_dir)["num_not_evaluated"] == 0
    assert history(run_dir)[-1]["responses"].keys() == {"client-1", "client-2", "client-3", "client-4"}
    assert summary(run_dir)["final"]["accuracy"] > 0.93


@pytest.mark.parametrize(("page", "example"), [("trees", "xgboost"), ("survival", "kaplan-meier")])
def test_the_code_of_a_page_is_its_examples(page: str, example: str) -> None:
    assert documented(f"docs/{page}.md") == (EXAMPLES / example / "study.py").read_text()
    for line in (EXAMPLES / example / "study.toml").read_text().splitlines():
        assert line in (EXAMPLES.parent / "docs" / f"{page}.md").read_text()
