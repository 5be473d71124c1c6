"""A table of 30,000 rows at five sites: what clients agree on is what the pooled table gives, and so is the model."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from celeriac.workloads.tables.rows import read_rows
from celeriac.workloads.tables.schema import Schema
from celeriac.workloads.tables.tabular import Tabular
from orchestrator.federate import FederatedRun, federate
from orchestrator.store.facts import PREPARED
from orchestrator.store.run_folder import RunFolder
from tasks.workload import DataSource, Part

ROOT = Path(__file__).parents[2]
NUM_ROWS = 30_000
SITES = list("ABCDE")
LEAST = 10
"""Fewest values that a client tells of, where nobody says another number."""
SPEC = "table,target=ill,site=hospital,test-share=0"


def made(seed: int, num_rows: int) -> pd.DataFrame:
    """Patients of five hospitals: one has no BMI, one alone has a ward of its own, and one has wards of few."""
    rng = np.random.default_rng(seed)
    site = rng.choice(SITES, num_rows, p=[0.3, 0.25, 0.2, 0.15, 0.1])
    age = rng.normal(50, 15, num_rows)
    bmi = rng.normal(27_000, 4, num_rows)  # a mean that is large beside the deviation
    sex = np.array(["f", "m", None], object)[rng.choice(3, num_rows, p=[0.5, 0.45, 0.05])]
    ward = rng.choice(["surgery", "medicine"], num_rows).astype(object)
    ward[(site == "E") & (rng.random(num_rows) < 0.3)] = "hospice, alone"
    ward[np.flatnonzero(site == "A")[:12]] = [f"rare {number // 4}" for number in range(12)]
    smoker = np.where(rng.random(num_rows) < 0.2, "true", "false")
    logit = (age - 50) / 15 + (sex == "m") + 2 * (ward == "hospice, alone") - 0.5
    ill = (rng.random(num_rows) < 1 / (1 + np.exp(-logit))).astype(int)
    age[rng.random(num_rows) < 0.1] = np.nan
    bmi[site == "D"] = np.nan
    table = {"hospital": site, "age": age, "bmi": bmi, "sex": sex, "ward": ward, "smoker": smoker, "visits": 1}
    return pd.DataFrame({**table, "ill": ill})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five hospitals' table in one file, and one of rows that the orchestrator holds out."""
    path = tmp_path_factory.mktemp("data")
    made(1, NUM_ROWS).to_csv(path / "patients.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)
    made(2, 4_000).to_csv(path / "held-out.csv", index=False)
    return path


@pytest.fixture(scope="module")
def run(folder: Path) -> FederatedRun:
    """A run of the five hospitals."""
    return federate(
        SPEC, clients=5, rounds=2, data=str(folder), backend="eager", epochs=1, batch_size=64, learning_rate=0.3
    )


def pooled(table: pd.DataFrame, told: pd.DataFrame) -> dict[str, np.ndarray]:
    """What pandas and scikit-learn make of rows of the pooled table ``told``: the model's inputs by name."""
    inputs = {}
    for name in ("age", "bmi", "visits"):
        scaler = StandardScaler().fit(told[[name]])
        inputs[name] = np.nan_to_num(scaler.transform(table[[name]])[:, 0])
    for name in ("sex", "ward", "smoker"):
        by_site = pd.crosstab(told.hospital, told[name])
        often = by_site.columns[by_site.max() >= LEAST]
        inputs |= {f"{name}={value}": table[name].eq(value).to_numpy(float) for value in often}
        if told[name].isna().any():
            inputs[f"{name}=(missing)"] = table[name].isna().to_numpy(float)
        if len(often) < len(by_site.columns):
            inputs[f"{name}=(other)"] = (table[name].notna() & ~table[name].isin(often)).to_numpy(float)
    return inputs


def schema_of(run: FederatedRun) -> Schema:
    """What the run's clients agreed on."""
    return Schema.model_validate_json(str(PREPARED.of(RunFolder.open(run.folder))["schema"]))


def test_the_preprocessed_matrix_of_each_site_is_that_of_the_pooled_table(folder: Path, run: FederatedRun) -> None:
    # Given what the clients of a run agreed on, and the pooled table
    schema = schema_of(run)
    table = made(1, NUM_ROWS)
    expected = pooled(table, table)
    assert sorted(schema.names()) == sorted(expected)
    assert {"ward=hospice, alone", "ward=(other)", "sex=(missing)"} <= set(schema.names())
    assert schema.classes == ("0", "1")
    # When each site's rows are made inputs of
    for place, site in enumerate(SITES):
        data = Tabular("ill", site="hospital", test_share="0").client_data(DataSource(folder, Part(place, 5)))
        own = (table.hospital == site).to_numpy()
        inputs = dict(zip(schema.names(), schema.inputs(data.train).T, strict=True))
        # Then they are what the pooled table's preprocessing makes of these rows
        for name, column in inputs.items():
            np.testing.assert_allclose(column, expected[name][own], rtol=0, atol=1e-9, err_msg=name)
        np.testing.assert_array_equal(schema.targets(data.train), table.ill[own])
    # And so for rows that nobody had
    held_out, new = read_rows(folder / "held-out.csv"), pooled(made(2, 4_000), table)
    for name, column in zip(schema.names(), schema.inputs(held_out).T, strict=True):
        np.testing.assert_allclose(column, new[name], rtol=0, atol=1e-9, err_msg=name)


def test_the_model_is_nearly_as_good_as_one_of_the_pooled_table(run: FederatedRun) -> None:
    # Given a model of scikit-learn's, of the pooled table
    table, held_out = made(1, NUM_ROWS), made(2, 4_000)
    names = sorted(pooled(table, table))
    train, test = (np.stack([pooled(rows, table)[name] for name in names], axis=1) for rows in (table, held_out))
    best = LogisticRegression(max_iter=1000).fit(train, table.ill)
    # Then the federation's is within half a percent
    assert run.summary is not None
    assert run.summary.final["accuracy"] > best.score(test, held_out.ill) - 0.005
    assert run.summary.final["auc"] > roc_auc_score(held_out.ill, best.decision_function(test)) - 0.005


def test_the_pages_program_says_what_the_model_makes_of_a_table(
    folder: Path, run: FederatedRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the program of the page, when it is run on the rows that the orchestrator holds out
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/tables.md").read_text(), flags=re.DOTALL)
    monkeypatch.setattr("sys.argv", ["predict.py", str(run.folder), str(folder / "held-out.csv")])
    exec(compile(code, "predict.py", "exec"), {})
    # Then as many of its answers are right as the run has said
    answers = [int(line) for line in capsys.readouterr().out.splitlines()]
    assert run.summary is not None
    assert np.mean(answers == made(2, 4_000).ill) == pytest.approx(run.summary.final["accuracy"])


def test_no_value_of_fewer_than_the_least_count_is_in_what_clients_told(run: FederatedRun) -> None:
    told = (run.folder / "statistics.json").read_text()
    assert "rare" not in told
    assert "hospice, alone" in told


def test_a_site_with_few_rare_names_hides_its_smallest_with_them_as_the_page_says(tmp_path: Path) -> None:
    # Given a name that one site alone has, often, beside one of a single row
    wards = ["surgery"] * 60 + ["hospice"] * 39 + ["rare"]
    for name, of_site in (("a.csv", wards), ("b.csv", ["surgery"] * 60 + ["medicine"] * 40)):
        pd.DataFrame({"ward": of_site, "ill": [0, 1] * 50}).to_csv(tmp_path / name, index=False)
    # When clients agree, then it is among the others, and so are its rows
    run = federate("table,target=ill,test-share=0", clients=2, rounds=1, data=str(tmp_path), backend="eager", epochs=1)
    schema = schema_of(run)
    assert schema.names() == ["ward=medicine", "ward=surgery", "ward=(other)"]
    assert schema.inputs(read_rows(tmp_path / "a.csv")).sum(axis=0).tolist() == [0, 60, 40]
