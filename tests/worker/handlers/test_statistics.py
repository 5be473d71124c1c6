from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from celeriac.workloads.table import Table
from tasks.blobs.chunks import MemoryChunks
from tasks.errors import ConfigurationError
from tasks.orders.statistics import Bins, Numbers, StatisticsOrder, StatisticsResponse
from tasks.user_code import UserCodeError
from tasks.workload import DataSource
from tests.support import PULL, Pull
from worker.client import Client
from worker.handlers import statistics
from worker.settings import Allowed

NAN = float("nan")


class Given(Table):
    """A table that is given."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def read(self, source: DataSource) -> Any:
        return self.table


def client_with(table: Any, folder: Path, min_count: int = 1) -> Client:
    workload = Given(table)
    data = workload.client_data(DataSource())
    allowed = Allowed(min_count=min_count)
    return Client("anna", PULL, workload, data, MemoryChunks(), folder, "first", allowed=allowed)


def to_tell(**changes: Any) -> StatisticsOrder:
    return StatisticsOrder.model_validate(
        {
            "order_id": "anna/run/1/statistics", "run_id": "run", "client_id": "anna", "round_number": 1,
            "workload": PULL, "timeout_s": 60.0, "deadline": 1e12, "min_count": 1, **changes,
        }
    )  # fmt: skip


def told(client: Client, **changes: Any) -> StatisticsResponse:
    response = statistics.handle(client, to_tell(**changes))
    assert isinstance(response, StatisticsResponse)
    return response


def test_a_client_tells_of_the_columns_that_are_asked_for(tmp_path: Path) -> None:
    # Given a table of three columns, when two are asked for, of which one is unknown, then the other is told
    client = client_with(pd.DataFrame({"age": [40, 50], "height": [1.7, 1.8], "ward": ["a", "b"]}), tmp_path)
    response = told(client, columns=["age", "weight"], edges={"age": [0, 45, 100]})
    assert response.known == ("age", "height", "ward")
    assert response.columns == {
        "age": Numbers(count=2, missing=0, mean=45.0, squares=50.0, bins=Bins(starts=(0, 1, 2, 3), counts=(0, 1, 1, 0)))
    }


@pytest.mark.parametrize(("asked", "own", "holds"), [(3, 1, 3), (1, 3, 3), (2, 2, 2)])
def test_the_larger_minimum_holds(tmp_path: Path, asked: int, own: int, holds: int) -> None:
    client = client_with({"age": [1.0, 2.0, 3.0, 3.0]}, tmp_path, own)
    response = told(client, min_count=asked, edges={"age": [0, 1.5, 2.5, 4]})
    assert response.min_count == holds
    column = response.columns["age"]
    assert isinstance(column, Numbers)
    assert column.bins is not None
    assert all(count == 0 or count >= holds for count in column.bins.counts)


def test_a_client_of_too_few_rows_tells_that_alone(tmp_path: Path) -> None:
    response = told(client_with({"age": [40.0] * 9}, tmp_path, 10))
    assert (response.columns, response.withheld) == ({}, ())
    assert response.reason == "it has fewer than 10 rows"


def test_a_column_of_too_few_values_is_withheld(tmp_path: Path) -> None:
    # Given ten rows, of which nine have an age, when they are told of, then the ages aren't
    response = told(client_with({"age": [40.0] * 9 + [NAN], "ward": ["a"] * 10}, tmp_path, 10))
    assert response.withheld == ("age",)
    assert list(response.columns) == ["ward"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"age": [1.0, 2.0], "ward": ["a"]}, r"'ward' of shape \(1,\): one value a row is needed"),
        ({"age": [[1.0, 2.0]]}, r"'age' of shape \(1, 2\): one value a row is needed"),
    ],
)
def test_what_are_no_columns_is_told(tmp_path: Path, table: Any, expected: str) -> None:
    with pytest.raises(UserCodeError, match=expected):
        told(client_with(table, tmp_path))


def test_a_workload_without_columns_says_what_to_write(tmp_path: Path) -> None:
    client = replace(client_with({"age": [1.0]}, tmp_path), workload=Pull())
    with pytest.raises(ConfigurationError, match=r"workload Pull has no columns\(\): see docs/statistics.md"):
        told(client)
