from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from celeriac.workloads.tables.measures import auc, auc_of_classes, errors_of_numbers
from celeriac.workloads.tables.rows import read_rows
from celeriac.workloads.tables.schema import Names, Scale, Schema
from celeriac.workloads.tables.tabular import Tabular
from orchestrator.federate import FederatedRun, federate
from orchestrator.store.facts import PREPARED
from orchestrator.store.run_folder import RunFolder
from tasks.context import Context
from tasks.errors import ConfigurationError, DataMissingError, FederationError
from tasks.pooling import NumbersSummary
from tasks.workload import ClientData, DataSource, Part, load_workload

GOOD = "age,ill\n" + "".join(f"{age},{age % 2}\n" for age in range(30, 60))

WHOLE = Part(0, 1)


def loaded(folder: Path, content: str | bytes, part: Part = WHOLE, **arguments: str) -> ClientData:
    """What a client has of a folder with one table."""
    (folder / "t.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return Tabular(**{"target": "ill", "test_share": "0", **arguments}).client_data(DataSource(folder, part))


def ran(
    folder: Path, tables: Mapping[str, pd.DataFrame], spec: str = "table,target=ill", **options: Any
) -> FederatedRun:
    """A run of clients with a table each."""
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / name, index=False)
    num_clients = sum(name != "held-out.csv" for name in tables)
    given = {"clients": num_clients, "rounds": 1, "epochs": 1, **options}
    return federate(spec, data=str(folder), backend="eager", **given)


def reasons(run: FederatedRun) -> dict[str, str]:
    """Why clients failed in the last round."""
    responses = RunFolder.open(run.folder).history()[-1].responses
    return {client_id: response.reason for client_id, response in responses.items() if response.reason}


def patients(seed: int, num_rows: int = 100, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.normal(50, 15, num_rows)
    return pd.DataFrame({"age": age, "sex": rng.choice(["f", "m"], num_rows), **columns, "ill": (age > 50).astype(int)})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "t.csv is empty: a header and rows are needed"),
        ("\ufeff \n", "t.csv is empty"),
        ("age,ill\n", "t.csv has a header and no rows: at least one is needed"),
        ("age,sick\n1,0\n", "t.csv has no column 'ill': known are age, sick"),
        ("age,ills\n1,0\n", "no column 'ill': did you mean 'ills'?"),
        (",ill\n0,1\n", r"column 1 has no name in row 1: name it, or leave it out .*to_csv\(index=False\)"),
        ("ill,ill\n0,1\n", "has 2 columns with the name 'ill'"),
        ("age,ill\n1,0\n2\n", "row 3 has 1 cells: the header has 2 names"),
        ('age,ill\n1,0\n"2,1\n', "t.csv, line 3: unexpected end of data"),
        (b"age,ill\n1,0\n\xff,1\n", "t.csv, line 3: byte 0xff isn't UTF-8"),
        ("age,ill\n1,\n2,NA\n", "no row has a value of the target 'ill'"),
        (
            GOOD + "old,1\n",
            "row 32, column 'age': 'old' is no number .*: mend it, leave it empty, or .* categories=age, as",
        ),
        ('age;ill\n"1,5";0\n2,5;1\n', "row 2, column 'age': '1,5' is no number .*these have a point, like 1.5"),
        (GOOD + "1e101,1\n", r"row 32, column 'age': '1e101' is no number of up to 1e\+100"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_the_place(tmp_path: Path, content: str | bytes, told: str) -> None:
    with pytest.raises(DataMissingError, match=told):
        loaded(tmp_path, content)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("table", "which column is to be learned"),
        ("table,target=a,net=cnn", "net=cnn: known are linear, mlp"),
        ("table,target=a,task=ranks", "classes or number is allowed"),
        ("table,target=a,task=number,classes=a+b", "no classes= with a number"),
        ("table,target=a,drop=b+a", "target=a: it is to be learned, and left out by site= or drop="),
        ("table,target=a,site=a", "target=a: it is to be learned, and left out"),
        ("table,target=a,test-share=1", "numbers from 0 to under 1"),
        ("table,target=a,column=b", "column"),
    ],
)
def test_wrong_parameters_are_refused(spec: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        load_workload(spec)


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    for folder in (None, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataMissingError, match=r"a table is needed|has no table, a \.csv or \.parquet file"):
            Tabular("ill").client_data(DataSource(folder))


def test_cells_are_read_whatever_way_a_spreadsheet_writes_them(tmp_path: Path) -> None:
    # Given a byte order mark, semicolons, Windows' ends of lines, a quoted line break, blanks and blank lines
    text = '\ufeffage; note ;ok;ill\r\n1.5;"two\nlines; one cell";TRUE;0\r\n\r\n 2 ;"a ""quote""";False;1\r\n'
    text += "NA;x;true;\r\n"
    # When they are read
    data = loaded(tmp_path, text)
    # Then numbers are numbers, names are names, and the row without a target is none
    found = Tabular("ill").columns(data)
    np.testing.assert_array_equal(found["age"], [1.5, 2])
    assert list(found["note"]) == ["two lines; one cell", 'a "quote"']
    assert list(found["ok"]) == ["true", "false"]
    assert list(found["ill"]) == ["0", "1"]
    assert list(data.train.numbers) == [2, 4]


@pytest.mark.parametrize(
    ("target", "arguments", "values"),
    [
        ("0,1,1", {}, ["0", "1", "1"]),
        ("0.0,1.0,1.0", {}, ["0", "1", "1"]),
        ("true,False,TRUE", {}, ["true", "false", "true"]),
        ("0,1,2", {}, [0.0, 1.0, 2.0]),
        ("0,1,2", {"task": "classes"}, ["0", "1", "2"]),
        ("0,1,2", {"classes": "0+1+2"}, ["0", "1", "2"]),
        ("0,1,1", {"task": "number"}, [0.0, 1.0, 1.0]),
        ("low,high,low", {}, ["low", "high", "low"]),
    ],
)
def test_a_target_is_classes_or_a_number_by_one_rule(
    tmp_path: Path, target: str, arguments: dict[str, str], values: list[object]
) -> None:
    data = loaded(tmp_path, "age,ill\n" + "".join(f"1,{value}\n" for value in target.split(",")), WHOLE, **arguments)
    assert list(Tabular("ill", **arguments).columns(data)["ill"]) == values


def test_local_clients_share_a_file_by_its_column_of_sites(tmp_path: Path) -> None:
    text = "site,age,ill\nb,1,0\na,2,1\nb,3,1\nc,4,0\n"
    numbers = [list(loaded(tmp_path, text, Part(place, 2), site="site").train.numbers) for place in range(2)]
    assert numbers == [[3, 5], [2, 4]]
    assert "site" not in Tabular("ill", site="site").columns(loaded(tmp_path, text, site="site"))
    assert len(loaded(tmp_path, text, site="site").train) == 4  # a client alone: the file is its own
    assert len(loaded(tmp_path, GOOD, site="site").train) == 30  # with or without such a column
    with pytest.raises(DataMissingError, match=r"has 3 sites, by its column 'site', for 4 clients: .*\(--clients 3\)"):
        loaded(tmp_path, text, Part(0, 4), site="site")
    with pytest.raises(DataMissingError, match="row 6, column 'site': nothing is no site: each row needs one"):
        loaded(tmp_path, text + ",5,1\n", Part(0, 2), site="site")


def test_local_clients_share_a_file_without_sites_alike_and_files_one_each(tmp_path: Path) -> None:
    # Given one file, then each row is one client's
    numbers = [loaded(tmp_path, GOOD, Part(place, 4)).train.numbers for place in range(4)]
    assert sorted(np.concatenate(numbers)) == list(range(2, 32))
    assert [len(each) for each in numbers] == [8, 8, 7, 7]
    # Given a second one, then each is a client's own, or one is named, and what is held out is nobody's
    (tmp_path / "u.csv").write_text("age,ill\n1,0\n")
    (tmp_path / "held-out.csv").write_text("age,ill\n1,0\n9,1\n")
    assert [len(loaded(tmp_path, GOOD, Part(place, 2)).train) for place in range(2)] == [30, 1]
    assert len(loaded(tmp_path, GOOD, file="u.csv").train) == 1
    with pytest.raises(DataMissingError, match="has 2 tables for 3 clients: as many are needed"):
        loaded(tmp_path, GOOD, Part(0, 3))
    holdout = Tabular("ill").holdout_data(tmp_path)
    assert holdout is not None
    assert len(holdout) == 2


def test_a_parquet_file_is_the_same_table(tmp_path: Path) -> None:
    # Given a table with missing values of each kind, in both forms
    table = patients(1, ok=[True, False, None, True] * 25, ward=["a", None] * 50)
    table.loc[3, ["age", "ill"]] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    # When both are read, then they are one
    one, other = read_rows(tmp_path / "t.csv"), read_rows(tmp_path / "t.parquet")
    assert list(one.numbers) == list(other.numbers)
    for name in table.columns:
        assert one.column(name).tolist() == other.column(name).tolist(), name
    (tmp_path / "u.parquet").write_bytes(b"PAR")
    with pytest.raises(DataMissingError, match=r"u.parquet is no parquet file"):
        read_rows(tmp_path / "u.parquet")


def test_who_lacks_a_column_or_has_another_kind_in_it_fails_alone_and_is_told_the_place(tmp_path: Path) -> None:
    # Given four clients: one lacks a column, one has letters where others have numbers, one has more columns
    tables = {
        "1.csv": patients(1, ward=1, note="x"),
        "2.csv": patients(2, ward=2).drop(columns="sex"),
        "3.csv": patients(3, ward="west"),
        "4.csv": patients(4, ward=np.nan),
    }
    # When they train
    run = ran(tmp_path / "data", tables)
    # Then the others' updates count, who has nothing but missing values among them
    told = reasons(run)
    assert sorted(told) == ["client-2", "client-3"]
    assert "2.csv has no column 'sex': known are age, ill, ward" in told["client-2"]
    # And nobody else learns a value of theirs
    assert "3.csv, column 'ward': a value is no number" in told["client-3"]
    assert "west" not in told["client-3"]
    schema = Schema.model_validate_json(str(PREPARED.of(RunFolder.open(run.folder))["schema"]))
    assert schema.names() == ["age", "sex=f", "sex=m", "ward"]


@pytest.mark.parametrize(
    ("values", "inputs"),
    [
        (("a", "b"), [[1, 0], [0, 0], [0, 0]]),
        (("a", "(missing)", "(other)"), [[1, 0, 0], [0, 0, 1], [0, 1, 0]]),
    ],
)
def test_a_name_that_nobody_told_is_one_of_the_others_if_there_are_such_and_else_nothing(
    tmp_path: Path, values: tuple[str, ...], inputs: list[list[int]]
) -> None:
    rows = loaded(tmp_path, "ward,ill\na,0\nnew,1\n,1\n").train
    np.testing.assert_array_equal(Names(values=values).inputs(rows, "ward"), inputs)


def test_a_class_that_too_few_rows_have_is_refused_with_the_way_out(tmp_path: Path) -> None:
    # Given a class that one row alone has
    tables = {f"{number}.csv": patients(number).replace({"ill": {0: "no", 1: "yes"}}) for number in (1, 2)}
    tables["2.csv"].loc[0, "ill"] = "rare"
    # When nobody names the classes, then who has it can't train, and it is told
    told = reasons(ran(tmp_path / "data", tables, "table,target=ill,test-share=0"))
    assert "column 'ill': a value is none of the classes that clients agreed on, no, yes: " in told["client-2"]
    assert "rare" not in told["client-2"]
    # And when somebody does, all train
    assert reasons(ran(tmp_path / "data", tables, "table,target=ill,test-share=0,classes=no+yes+rare")) == {}


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("one", "'one' has the classes that clients told of, '0' alone"),
        ("few", "no client told anything of its data: .* it has fewer than 10 rows"),
    ],
)
def test_a_run_whose_target_tells_nothing_is_refused(tmp_path: Path, target: str, told: str) -> None:
    few = ["x"] * 5 + [""] * 95
    with pytest.raises(FederationError, match=told):
        ran(tmp_path / "data", {"1.csv": patients(1, one=0, few=few)}, f"table,target={target}")


def test_regression_tells_its_errors_in_the_targets_unit_and_a_perceptron_bends(tmp_path: Path) -> None:
    # Given heights in millimetres that a column's absolute value makes
    def heights(seed: int) -> pd.DataFrame:
        x = np.random.default_rng(seed).uniform(-1, 1, 400)
        return pd.DataFrame({"x": x, "height": 1_700 + 200 * np.abs(x), "constant": 7})

    tables = {"1.csv": heights(1), "2.csv": heights(2), "held-out.csv": heights(3)}
    options = {"rounds": 4, "epochs": 10, "batch_size": 16, "run_config": {"hidden": [16], "momentum": 0.9}}
    # When a linear model learns them, and a perceptron
    final = {}
    for net in ("linear", "mlp"):
        run = ran(tmp_path / net, tables, f"table,target=height,net={net}", **options, learning_rate=0.02)
        assert run.summary is not None
        final[net] = run.summary.final
    # Then the former is as good as the mean, 58 mm off, and the latter follows the bend
    assert final["linear"]["rmse"] == pytest.approx(58, abs=4)
    assert final["linear"]["r2"] == pytest.approx(0, abs=0.05)
    assert final["mlp"]["rmse"] < 15
    assert final["mlp"]["r2"] == pytest.approx(1 - (final["mlp"]["rmse"] / 57.9) ** 2, abs=0.02)


def test_the_area_under_the_curve_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 10, 300).astype(float), rng.random(300) < 0.3
    assert auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    logits, targets = rng.normal(size=(300, 3)), rng.integers(0, 3, 300)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert auc_of_classes(logits, targets)["auc"] == pytest.approx(roc_auc_score(targets, shares, multi_class="ovr"))
    assert auc_of_classes(logits[:, :2], np.zeros(300, np.int64)) == {}
    assert errors_of_numbers(np.zeros(3), np.ones(3)) == {"rmse": 1.0}


def test_what_is_written_with_quotes_by_pandas_is_read_back(tmp_path: Path) -> None:
    table = pd.DataFrame({"a,b": ["x\ny", 'q"q'], "ill": [0, 1]})
    table.to_csv(tmp_path / "t.csv", index=False, quoting=csv.QUOTE_ALL)
    assert read_rows(tmp_path / "t.csv").column("a,b").tolist() == ["x\ny", 'q"q']


@pytest.mark.parametrize(
    ("target", "column", "used"),
    [("name", "age", "the target 'name'"), ("ill", "name", "column 'name'"), ("ill", "ward", "column 'ward'")],
)
def test_whoever_makes_the_schema_gets_no_column_that_a_client_leaves_out(
    tmp_path: Path, target: str, column: str, used: str
) -> None:
    # Given a client that leaves out names, and a site, and a schema of these
    data = loaded(tmp_path, "age,name,ward,ill\n1,Eve,a,0\n2,Bob,b,1\n", drop="name", site="ward")
    schema = Schema(target=target, columns={column: Names(values=("Eve", "Bob"))}, classes=("0", "1"))
    context = Context(client_id="client-1", run_config={"schema": schema.model_dump_json(), "hidden": [1]})
    workload = Tabular("ill", "ward", drop="name")
    # When it is to evaluate by that, then it refuses, and tells nothing of what they hold
    with pytest.raises(ConfigurationError, match=f"the schema uses {used}, which workload table doesn't") as raised:
        workload.evaluate(workload.initial_parameters(context), data.train, context)
    assert "Eve" not in str(raised.value)


def test_a_column_to_leave_out_that_there_isnt_is_told_as_its_name_may_be_mistyped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = loaded(tmp_path, "name,age,ill\nEve,1,0\nBob,2,1\n", drop="nmae")
    assert "name" in data.train.columns
    assert "has no column 'nmae' for drop= to leave out: did you mean 'name'?" in caplog.text


def test_sites_with_too_few_rows_to_tell_of_take_no_column_from_the_others(tmp_path: Path) -> None:
    # Given a site, and one with fewer rows than are told of
    run = ran(tmp_path / "data", {"1.csv": patients(1), "2.csv": patients(2, num_rows=8)})
    # When they train, then both do, by the columns of the first
    assert reasons(run) == {}
    assert sorted(RunFolder.open(run.folder).history()[-1].responses) == ["client-1", "client-2"]


@pytest.mark.parametrize(("variance", "deviation"), [(1e-33, 1.0), (1e-20, 1e-10)])
def test_what_rounding_makes_of_equal_values_is_no_deviation(variance: float, deviation: float) -> None:
    # Given 1,000 values near 0.1, as clients' means and squares give them, whose epsilon is some 1e-17
    summary = NumbersSummary(num_clients=2, count=1_000, missing=0, mean=0.1, variance=variance * 1_000 / 999)
    # When they are scaled, then equal ones stay 0 rather than become as large as others
    assert Scale.of(summary).deviation == pytest.approx(deviation)
