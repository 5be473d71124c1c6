"""The studies of the pages for one task each, put into a folder outside the repo and run by the page's own command."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import numpy as np
from redis import Redis

from tests.integration.harness import Field, history, summary
from tests.integration.test_own_code import documented


def study_of(page: str, folder: Path) -> Path:
    """A folder with what a page says to put there."""
    folder.mkdir()
    (folder / "my_study.py").write_text(documented(page))
    return folder


def test_the_study_on_ones_own_data_trains_on_each_clients_own_file(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given two clients, each with a table of its own, and a third without one
    study = study_of("docs/own-data.md", tmp_path / "study")
    rng = np.random.default_rng(0)
    for name, number in (("anna", 300), ("bert", 500)):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "patients.csv").open("w", newline="") as file:
            points = rng.normal(size=(number, 4))
            csv.writer(file).writerows([["a", "b", "c", "d", "ill"], *((*row, int(row.sum() > 0)) for row in points)])
    (tmp_path / "carl").mkdir()
    own = {"CLIENT_WORKLOAD": "my_study:MyStudy"}
    carl = field.client(broker, "carl", cwd=study, CLIENT_DATA=str(tmp_path / "carl"), **own)
    for name in ("anna", "bert"):
        field.client(broker, name, cwd=study, CLIENT_DATA=str(tmp_path / name), **own)
    # When the page's command is run
    field.run("run", "--rounds 6", broker=broker, workload="my_study:MyStudy", cwd=study).succeeds()
    # Then both have trained on theirs, and the model is good there
    responses = history(study / "run")[-1]["responses"]
    assert {name: response["num_examples"] for name, response in responses.items()} == {"anna": 240, "bert": 400}
    assert summary(study / "run")["client_metrics"]["accuracy"] > 0.9
    # And the third has said in one line what it lacks
    assert carl.wait() == 2
    assert "patients.csv: there is no such file; a table with a header is needed there" in carl.output


def test_the_study_with_scikit_learn_trains(field: Field, tmp_path: Path) -> None:
    study = study_of("docs/scikit-learn.md", tmp_path / "study")
    options = "--clients 3 --learning-rate 0.01 --epochs 1 --rounds 5"
    field.run("run", options, workload="my_study:MyStudy", cwd=study).succeeds()
    assert summary(study / "run")["final"]["accuracy"] > 0.7


def test_the_study_with_an_accountant_adds_up_what_its_rounds_spend(field: Field, tmp_path: Path) -> None:
    # Given the page's study, when it runs for three rounds of five steps with sigma = 30
    study = study_of("docs/state.md", tmp_path / "study")
    options = "--clients 2 --learning-rate 1 --epochs 5 --rounds 3 --run-config sigma=30"
    field.run("run", options, workload="my_study:MyStudy", cwd=study).succeeds()
    # Then each round has spent what all steps up to it have
    records = history(study / "run")
    for number, record in enumerate(records, 1):
        rho = number * 5 / (2 * 30**2)
        epsilon = rho + 2 * math.sqrt(rho * math.log(1e5))
        for response in record["responses"].values():
            assert math.isclose(response["metrics"]["epsilon"], epsilon)
    assert summary(study / "run")["final"]["accuracy"] > 0.8


def test_the_program_of_results_prints_those_of_all_clients(field: Field, tmp_path: Path) -> None:
    # Given the page's program, when it is run
    (tmp_path / "ages.py").write_text(documented("docs/beyond-a-model.md"))
    program = field.start("ages", "ages.py", cwd=tmp_path, python=(sys.executable,))
    program.succeeds()
    # Then it prints what all three clients' ages are
    ages = np.concatenate([np.random.default_rng(index).uniform(0, 90, 1000) for index in range(3)])
    expected = {"oldest": np.array(ages.max()), "over_65": np.array((ages > 65).sum())}
    assert program.output.splitlines()[-1] == repr(expected)
