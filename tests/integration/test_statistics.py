"""Statistics of what real workers have, beside pandas on the pooled data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from redis import Redis

from celeriac.workloads.datasets.digits import Digits
from tasks.workload import DataSource, Part
from tests.integration.harness import ROOT, Field, part, present, url, wait_until

pytestmark = pytest.mark.usefixtures("counted")

NUM_ROWS = (300, 450, 60)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder outside the repo with the file of docs/statistics.md, and the tables that it reads."""
    block, _ = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "statistics.md").read_text(), flags=re.DOTALL)
    (tmp_path / "my_tables.py").write_text(block)
    (tmp_path / "tables").mkdir()
    for number, num_rows in enumerate(NUM_ROWS, start=1):
        rng = np.random.default_rng(number)
        age = rng.normal(50, 15, num_rows).round(1)
        age[rng.random(num_rows) < 0.1] = np.nan
        ward = rng.choice(["surgery", "medicine", ""], num_rows, p=[0.5, 0.4, 0.1])
        table = pd.DataFrame({"age": age, "ward": ward, "nights": rng.poisson(4, num_rows)})
        table.to_csv(tmp_path / "tables" / f"patients-{number}.csv", index=False)
    return tmp_path


def command() -> list[str]:
    """The command of the page, without ``python -m``."""
    found = re.search(
        r"^python -m (orchestrator.statistics .*my_tables.*)$", (ROOT / "docs/statistics.md").read_text(), re.M
    )
    assert found is not None
    return found[1].split()


def result(path: Path) -> Mapping[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_tables_with_missing_values_are_told_of_as_pandas_does_after_the_page_alone(field: Field, study: Path) -> None:
    # Given three tables with missing values, when the page's command is run there, and nothing has to be merged
    told = field.start("statistics", *command(), "--edges", "age=-100,40,60,200", "--edges", "nights=0,3,5,50",
                       "--output", "s.json", cwd=study)  # fmt: skip
    told.succeeds()

    # Then all is as pandas has it of the pooled tables
    tables = [pd.read_csv(study / "tables" / f"patients-{number}.csv") for number in range(1, len(NUM_ROWS) + 1)]
    columns, pooled = result(study / "s.json")["columns"], pd.concat(tables)
    for name in ("age", "nights"):
        found = columns[name]["over_all"]
        assert (found["count"], found["missing"]) == (pooled[name].count(), pooled[name].isna().sum())
        assert found["mean"] == pytest.approx(pooled[name].mean(), rel=1e-12)
        assert found["variance"] == pytest.approx(pooled[name].var(), rel=1e-12)
        edges, counts = found["histogram"]["edges"], found["histogram"]["counts"]
        assert counts == [0, *np.histogram(pooled[name].dropna(), edges)[0], 0]
        for quantile in found["quantiles"]:
            expected = pooled[name].dropna().quantile(quantile["share"], interpolation="higher")
            assert quantile["low"] <= expected <= quantile["high"]
    assert columns["ward"]["over_all"]["groups"] == pooled["ward"].value_counts().to_dict()
    assert columns["ward"]["over_all"]["missing"] == pooled["ward"].isna().sum()

    # And of each client as of its own
    for number, table in enumerate(tables, start=1):
        own = columns["age"]["clients"][f"client-{number}"]
        assert own["mean"] == pytest.approx(table["age"].mean(), rel=1e-12)
        assert own["variance"] == pytest.approx(table["age"].var(), rel=1e-12)
    assert "age, over all: count " in told.output


def test_digits_of_clients_at_a_broker_are_told_of_and_the_clients_stay(
    field: Field, tmp_path: Path, broker: Redis
) -> None:
    # Given two clients with a half of the digits each, of which one tells of no fewer than 80
    for number, least in ((1, ""), (2, "80")):
        field.client(broker, f"client-{number}", CLIENT_WORKLOAD="digits", CLIENT_MIN_COUNT=least, **part(number, 2))

    # When they are asked, with agreed edges
    told = field.start(
        "statistics", "orchestrator.statistics", "--broker", url(broker), "--output", str(tmp_path / "s")
    )
    told.succeeds()

    # Then counts, mean and variance are those of both halves,
    workload, found = Digits(), result(tmp_path / "s")
    halves = [workload.columns(workload.client_data(DataSource(None, Part(index, 2)))) for index in range(2)]
    pixels = pd.concat([pd.Series(half["mean_pixel"]) for half in halves])
    over_all = found["columns"]["mean_pixel"]["over_all"]
    assert over_all["count"] == len(pixels)
    assert over_all["mean"] == pytest.approx(pixels.mean(), rel=1e-12)
    assert over_all["variance"] == pytest.approx(pixels.var(), rel=1e-12)

    # And the second has merged what is under its own minimum
    assert found["min_counts"] == {"client-1": 10, "client-2": 80}
    first, second = (found["columns"]["label"]["clients"][f"client-{number}"] for number in (1, 2))
    assert first["groups"] == {**pd.Series(halves[0]["label"]).value_counts().to_dict()}
    assert all(count >= 80 for count in [*second["groups"].values(), second["other"]])
    assert sum(second["groups"].values()) + second["other"] == len(halves[1]["label"])
    wait_until(lambda: present(broker) == {"client-1", "client-2"}, "both are still there")


def test_a_column_that_nobody_has_is_refused_with_those_that_there_are(field: Field) -> None:
    told = field.start("statistics", "orchestrator.statistics", "--clients", "1", "--columns", "mean_pixle")
    assert told.wait() == 2
    assert told.output.splitlines()[-1] == (
        "error: there is no column 'mean_pixle': did you mean 'mean_pixel'? known are label, mean_pixel"
    )


def test_a_workload_without_columns_says_what_to_write(field: Field) -> None:
    told = field.start("statistics", "orchestrator.statistics", "--clients", "1", "--workload", "pulled:Pulled")
    assert told.wait() == 1
    assert "workload Pulled has no columns(): see docs/statistics.md" in told.output.splitlines()[-1]
