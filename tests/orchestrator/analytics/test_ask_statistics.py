from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from celeriac.workloads.table import Table
from orchestrator.analytics.query import Query, ask_statistics
from orchestrator.asking import Clients
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.transport import RunServices
from tasks.blobs.chunks import MemoryChunks
from tasks.broker.app import make_app
from tasks.errors import ConfigurationError, NothingToldError
from tasks.pooling import GroupsSummary, NumbersSummary
from tasks.workload import DataSource
from tests.support import PULL, announcement, run_config
from worker.client import Client
from worker.serving import Serving

AGES = [float(age) for age in range(30, 60)]


class Given(Table):
    """A table that is given."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.table = table

    def read(self, source: DataSource) -> Mapping[str, Any]:
        return self.table


@pytest.fixture
def app() -> Celery:
    app = make_app("statistics", "memory://", include=("worker.tasks",), task_always_eager=True)
    app.finalize()
    app.loader.import_default_modules()
    return app


def clients(app: Any, folder: Path, *tables: Mapping[str, Any]) -> Clients:
    """Clients that have these tables."""
    app.serving = Serving()
    names = [f"client-{number}" for number in range(1, len(tables) + 1)]
    for name, table in zip(names, tables, strict=True):
        workload = Given(table)
        data = workload.client_data(DataSource())
        app.serving.add(Client(name, PULL, workload, data, MemoryChunks(), folder / name, "first"))
    services = RunServices(
        EagerTransport(app),
        present=lambda: {name: announcement(name) for name in names},
        tell=lambda _: None,
        blobs=MemoryChunks(),
        broker_time=lambda: 1e12,
        poll=lambda: False,
        tidy=lambda: None,
    )
    return Clients(run_config(num_clients=len(tables)), RunFolder(folder), services)


def test_edges_that_nobody_gives_follow_from_the_pooled_mean_and_variance(app: Celery, tmp_path: Path) -> None:
    # Given two clients with people of 30 to 59, whose mean is 44.5 and whose deviation 8.7305
    asked = clients(app, tmp_path, {"age": AGES}, {"age": AGES})
    # When they are asked for four bins
    found = ask_statistics(asked, Query(num_bins=4, shares=(0.5,))).columns["age"].over_all
    # Then these reach three deviations, 26.19, to both sides
    assert isinstance(found, NumbersSummary)
    assert found.histogram is not None
    assert found.histogram.edges == pytest.approx((18.3, 31.4, 44.5, 57.6, 70.7), abs=0.05)
    assert found.quantiles[0].value == pytest.approx(44.5, abs=1.0)
    assert sum(found.histogram.counts) == pytest.approx(60)


def test_edges_that_are_given_are_those_of_the_histogram(app: Celery, tmp_path: Path) -> None:
    asked = clients(app, tmp_path, {"age": AGES, "height": AGES}, {"age": AGES, "height": AGES})
    found = ask_statistics(asked, Query(columns=("age",), edges={"age": (0.0, 40.0, 100.0)}))
    age = found.columns["age"].over_all
    assert isinstance(age, NumbersSummary)
    assert age.histogram is not None
    assert (age.histogram.counts, age.histogram.num_spread) == ((0.0, 20.0, 40.0, 0.0), 0)
    assert list(found.columns) == ["age"]


def test_names_need_no_second_exchange(app: Celery, tmp_path: Path) -> None:
    found = ask_statistics(clients(app, tmp_path, {"ward": ["a"] * 12 + ["b"] * 11}), Query()).columns["ward"].over_all
    assert isinstance(found, GroupsSummary)
    assert found.groups == {"a": 12, "b": 11}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (Query(columns=("aeg",)), r"^there is no column 'aeg': did you mean 'age'\? known are age, ward$"),
        (Query(edges={"height": (0.0, 1.0)}), r"^there is no column 'height': known are age, ward$"),
        (Query(edges={"ward": (0.0, 1.0)}), r"^--edges ward: this column holds names"),
    ],
)
def test_what_no_client_can_tell_is_refused(app: Celery, tmp_path: Path, query: Query, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        ask_statistics(clients(app, tmp_path, {"age": AGES, "ward": ["a"] * 30}), query)


def test_clients_of_too_few_rows_tell_nothing(app: Celery, tmp_path: Path) -> None:
    with pytest.raises(NothingToldError, match="client-1: done: it has fewer than 10 rows"):
        ask_statistics(clients(app, tmp_path, {"age": AGES[:9]}), Query())
