from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from celeriac.workloads.table import Table
from tasks.context import Context, TimeBudget
from tasks.errors import ConfigurationError
from tasks.messages import TrainOptions
from tasks.workload import DataSource, Part


class Ages(Table):
    """As many ages as the number of the client's part, as a frame or as a dict."""

    def read(self, source: DataSource) -> Any:
        ages = np.arange(source.part.index + 1)
        return pd.DataFrame({"age": ages}) if source.part.index % 2 else {"age": ages}


@pytest.mark.parametrize("index", [0, 1])
def test_a_table_tells_its_rows_and_columns(index: int) -> None:
    # Given a dict, or a frame, when a client has it, then its rows are counted, and its columns are there by name
    workload = Ages()
    data = workload.client_data(DataSource(part=Part(index, 2)))
    assert data.num_train == index + 1
    assert {name: list(values) for name, values in workload.columns(data).items()} == {"age": list(range(index + 1))}


def test_a_table_has_nothing_to_train() -> None:
    workload, budget = Ages(), TimeBudget(1.0)
    for act in (
        lambda: workload.initial_parameters(Context(seed=1)),
        lambda: workload.holdout_data(None),
        lambda: workload.train({}, None, Context(options=TrainOptions(), seed=1, budget=budget)),
        lambda: workload.evaluate({}, None, Context()),
    ):
        with pytest.raises(ConfigurationError, match=r"^workload Ages is a table without a model"):
            act()
