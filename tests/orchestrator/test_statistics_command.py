from __future__ import annotations

import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from orchestrator.analytics.report import show
from orchestrator.statistics import main
from tasks.pooling import GroupsSummary, Histogram, NumbersSummary, Quantile
from tasks.statistics import ColumnStatistics, Statistics

AGE = NumbersSummary(
    num_clients=1,
    count=1200,
    missing=3,
    mean=40.25,
    variance=90.0,
    histogram=Histogram(edges=(0.0, 20.0, 60.0), counts=(0.0, 400.5, 799.5, 0.0), num_spread=21),
    quantiles=(
        Quantile(share=0.5, value=31.5, low=20.0, high=60.0),
        Quantile(share=0.9, value=None, low=60.0, high=None),
    ),
)
WARD = GroupsSummary(num_clients=1, count=1200, missing=0, groups={"[b]a": 1180}, other=20)
FOUND = Statistics(
    columns={
        "age": ColumnStatistics(over_all=AGE, clients={"anna": AGE}),
        "ward": ColumnStatistics(over_all=WARD, clients={"anna": WARD}),
    },
    min_count=5,
    min_counts={"anna": 10},
    withheld={"anna": ("weight",)},
    not_told={"bert": "lost: the client vanished"},
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--edges age", "'age': a column and 2 to 1001 ascending numbers are allowed, like age=0,20,40,60"),
        ("--edges age=3,2", "'age=3,2': a column and 2 to 1001 ascending numbers"),
        ("--edges age=1", "'age=1': a column and 2 to 1001 ascending numbers"),
        ("--edges age=0,nan", "'age=0,nan': a column and 2 to 1001 ascending numbers"),
        ("--edges age=0,inf", "'age=0,inf': a column and 2 to 1001 ascending numbers"),
        ("--edges age=0,old", "'0,old': numbers with commas between them are allowed"),
        ("--quantiles 50", "'50': shares from 0 to 1 are allowed"),
        ("--bins 0", "0 is not in the range 1<=x<=1000"),
        ("--min-count 0", "0 is not in the range x>=1"),
        ("--clients none", "'none' is not a valid integer range"),
        ("--data nowhere", "Directory 'nowhere' does not exist"),
        ("--workload digit", "unknown workload 'digit': did you mean 'digits'?"),
        ("--output nowhere/s.json", "--output nowhere/s.json: there is no folder"),
        ("--broker http://host", "redis://"),
    ],
)
def test_bad_input_is_told_in_one_line(
    options: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an empty folder, when the command is run with what is wrong, then one line says so, and nothing is made
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, options.split(), env={"CELERY_BROKER_URL": None})
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert expected in result.stderr
    assert (result.stderr.count("\n"), result.stdout) == (1, "")
    assert not list(tmp_path.iterdir())


def shown(*, is_terminal: bool) -> str:
    file = io.StringIO()
    show(FOUND, Console(file=file, force_terminal=is_terminal, width=120, color_system=None))
    return file.getvalue()


def test_elsewhere_than_on_a_terminal_each_column_of_each_client_is_a_line() -> None:
    assert shown(is_terminal=False).splitlines() == [
        "age, over all: count 1,200, missing 3, mean 40.25, variance 90, quantile 0.5 31.5, quantile 0.9 > 60",
        "age, anna: count 1,200, missing 3, mean 40.25, variance 90, quantile 0.5 31.5, quantile 0.9 > 60",
        "age, over all, histogram: below 0: 0; 0 to 20: 400.5; 20 to 60: 799.5; above 60: 0",
        "ward, over all: count 1,200, missing 0, groups [b]a 1,180, (other 20)",
        "ward, anna: count 1,200, missing 0, groups [b]a 1,180, (other 20)",
        "age: 21 values are in bins that a client merged: where in them is estimated",
        "client anna tells of no fewer than 10 values (CLIENT_MIN_COUNT)",
        "client anna doesn't count in weight: too few values, or of another kind",
        "client bert told nothing: lost: the client vanished",
    ]


def test_a_terminal_has_tables() -> None:
    text = shown(is_terminal=True)
    assert "quantile 0.5" in text
    assert "[b]a 1,180, (other 20)" in text
    assert "█" * 40 in text
    assert "client bert told nothing: lost: the client vanished" in text
