"""Each example does what its README says, in real processes, and is no longer than it should be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from lifelines.datasets import load_waltons
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from scripts.examples import FOLDER, PAGE, Example, ending, examples, runnable, table
from tasks import arrays
from tests.examples.conftest import Ran
from tests.integration.harness import checkpoint, history, summary
from tests.integration.test_own_code import documented

MOST_LINES = {
    "fedprox-1000": 29,
    "jax": 52,
    "kaplan-meier": 31,
    "keras": 40,
    "lora": 42,
    "newton": 33,
    "pytorch-images": 27,
    "scikit-learn": 33,
    "xgboost": 56,
}
"""What some took before there was a helper for it."""
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
VARYING = re.compile(r"in [\d.]+ s\b|runs/\S+")
"""What differs from run to run: how long it took, and its folder."""


def in_words(printed: str) -> str:
    """Return what was printed without its numbers, and with single blanks, as widths follow numbers."""
    return " ".join(NUMBER.sub("#", VARYING.sub("", printed)).split())


def numbers(printed: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(VARYING.sub("", printed))]


@pytest.mark.parametrize("example", runnable(), ids=lambda example: example.folder.name)
def test_an_example_prints_what_its_readme_says(example: Example, ran: Callable[[str], Ran]) -> None:
    # Given an example, when it is run as its README says
    printed = ran(example.folder.name).printed

    # Then it prints the README's words, and its numbers but for what another machine rounds otherwise
    assert in_words(printed) == in_words(example.printed)
    assert numbers(printed) == pytest.approx(numbers(example.printed), abs=0.1, rel=0.1)


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.folder.name)
def test_an_example_is_short(example: Example) -> None:
    # Given an example, then code and README are read at a glance
    assert example.num_lines <= MOST_LINES.get(example.folder.name, 65)
    assert sum(bool(line.strip()) for line in example.readme.splitlines()) <= 20


def test_only_adapters_travel(ran: Callable[[str], Ran]) -> None:
    # Given the example of LoRA, when it has run
    run_dir = ran("lora").run_dir

    # Then the model that went out has nothing but adapters, and so had the updates
    model = arrays.decode(checkpoint(run_dir, 4))
    assert {name.split(".")[-2] for name in model} == {"lora_A", "lora_B"}
    sizes = {response["size_bytes"] for record in history(run_dir) for response in record["responses"].values()}
    assert all(size < 4 * sum(array.size for array in model.values()) + 5_000 for size in sizes)


def test_two_sites_in_r_find_the_model_of_their_pooled_table(ran: Callable[[str], Ran]) -> None:
    # Given two sites in R, with a third and two thirds of the rows, when they have done twenty steps
    run_dir = ran("r-client").run_dir
    found = arrays.decode(checkpoint(run_dir, 20))["beta"]

    # Then the model is that of twenty steps on all rows
    data = run_dir.parents[1] / "data"
    rows = pd.concat([pd.read_csv(data / f"site-{number}.csv") for number in (1, 2)])
    x = np.column_stack([np.ones(len(rows)), rows.age / 10, rows.parity, rows.induced, rows.spontaneous])
    beta = np.zeros(5)
    for _ in range(20):
        beta -= 0.1 * x.T @ (1 / (1 + np.exp(-x @ beta)) - rows.case.to_numpy()) / len(rows)
    np.testing.assert_allclose(found, beta, rtol=0, atol=1e-12)
    assert [each["num_examples"] for each in history(run_dir)[0]["responses"].values()] == [82, 166]


def test_a_survival_curve_is_that_of_all_patients_in_one_table(ran: Callable[[str], Ran]) -> None:
    # Given five clients with a fifth of the patients each, when their counts have been added up
    found = arrays.decode(checkpoint(ran("kaplan-meier").run_dir, 1))["survival"]

    # Then the curve is the one that lifelines makes of all of them
    patients = load_waltons()
    pooled = KaplanMeierFitter().fit(patients["T"], patients["E"]).survival_function_at_times(np.arange(1, 81))
    np.testing.assert_allclose(found, pooled, rtol=0, atol=1e-12)


def test_newtons_method_gives_the_weights_of_the_pooled_data(ran: Callable[[str], Ran]) -> None:
    # Given four clients with a quarter of the patients each, when they have trained for ten rounds
    found = arrays.decode(checkpoint(ran("newton").run_dir, 10))["weights"]

    # Then the weights are those that scikit-learn finds on all of them in one table
    inputs, targets = load_breast_cancer(return_X_y=True)
    inputs = np.column_stack([scale(inputs), np.ones(len(inputs))])
    pooled = LogisticRegression(fit_intercept=False, solver="newton-cholesky", tol=1e-12).fit(inputs, targets)
    np.testing.assert_allclose(found, pooled.coef_[0], rtol=0, atol=1e-10)


def test_trees_are_sent_once_and_nothing_else_is(ran: Callable[[str], Ran]) -> None:
    # Given four clients that grow a tree each, in ten rounds
    run_dir = ran("xgboost").run_dir
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
    assert documented(f"docs/{page}.md") == (FOLDER / example / "study.py").read_text()
    for line in (FOLDER / example / "study.toml").read_text().splitlines():
        assert line in (PAGE.parents[1] / "docs" / f"{page}.md").read_text()


def test_the_page_has_the_table_of_the_examples() -> None:
    # Given the page, when its table is made anew, then nothing changes: else run make examples ARGS=--write
    assert f"<!-- examples: begin -->\n{table()}\n<!-- examples: end -->" in PAGE.read_text(encoding="utf-8")


def test_the_page_counts_as_the_table_does() -> None:
    # Given the page, then where it compares it has the same numbers of lines
    num_lines = {each.folder.name: each.num_lines for each in examples()}
    compared = re.findall(r"^\| ([\w-]+) \| (\d+) \| \D", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: int(number) for name, number in compared} == {name: num_lines[name] for name, _ in compared} != {}


def test_an_ending_is_the_verdict_in_short() -> None:
    # Given what runs print, then an ending has rounds and metrics: the orchestrator's, or else the clients'
    clients = "\non the clients' own held-out data: accuracy 0.90 (worst 0.8, deviation 0.1), loss 0.3 (worst 0.4)\n"
    assert ending("completed: 3 rounds in 1.5 s, accuracy 0.95" + clients) == "3 rounds, accuracy 0.95"
    assert ending("completed: 1 round in 2 s, no held-out data to evaluate on" + clients) == "1 round, accuracy 0.90"
    assert ending("the curve\n0.5 0.4\n") == "0.5 0.4"
