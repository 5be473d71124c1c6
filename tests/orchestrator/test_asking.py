from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery

from orchestrator.asking import Clients, connect_clients
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.transport import RunServices
from tasks.announcement import Announcement
from tasks.blobs.chunks import MemoryChunks
from tasks.broker.app import make_app
from tasks.errors import BrokerUnreachableError, ConfigurationError, TooFewClientsError, UnknownNameError
from tasks.messages import Study
from tasks.orders.evaluate import EvaluateOrder
from tasks.orders.statistics import StatisticsOrder
from tests.support import PULL, Pull, announcement, blob_ref, points, run_config
from worker.client import Client
from worker.serving import Serving


@pytest.fixture
def app(tmp_path: Path) -> Celery:
    """An app that carries orders to anna and bert out at once."""
    app = make_app("asking", "memory://", include=("worker.tasks",), task_always_eager=True)
    app.finalize()
    app.loader.import_default_modules()
    app.serving = Serving()
    for client_id in ("anna", "bert"):
        data = points(client_id, 5)
        app.serving.add(Client(client_id, PULL, Pull(), data, MemoryChunks(), tmp_path / client_id, "first"))
    return app


def clients(app: Celery, folder: Path, *announcements: Announcement, num_clients: int = 2) -> Clients:
    services = RunServices(
        EagerTransport(app),
        present=lambda: {said.client_id: said for said in announcements},
        tell=lambda _: None,
        blobs=MemoryChunks(),
        broker_time=lambda: 1e12,
        poll=lambda: False,
        tidy=lambda: None,
    )
    config = run_config(num_clients=num_clients, wait_timeout_s=0.01)
    return Clients(config, RunFolder(folder), services)


def test_every_connected_client_answers_under_its_id(app: Celery, tmp_path: Path) -> None:
    # Given two clients, and one with another workload
    asked = clients(
        app, tmp_path, announcement("bert"), announcement("anna"), announcement("carl", workload="digits")
    )  # fmt: skip
    # When they are asked for what they can't tell, then the two say so
    responses = asked.ask(StatisticsOrder)
    assert [response.client_id for response in responses] == ["anna", "bert"]
    assert all("workload Pull has no columns()" in response.reason for response in responses)


def test_each_time_they_are_asked_is_an_order_of_its_own(app: Celery, tmp_path: Path) -> None:
    asked = clients(app, tmp_path, announcement("anna"), num_clients=1)
    ids = {asked.ask(EvaluateOrder, parameters=blob_ref(), study=Study(), seed=0)[0].order_id for _ in range(2)}
    assert ids == {"client/anna/run/1/evaluate", "client/anna/run/2/evaluate"}


def test_with_too_few_clients_nobody_is_asked(app: Celery, tmp_path: Path) -> None:
    asked = clients(app, tmp_path, announcement("anna"))
    with pytest.raises(TooFewClientsError, match="1 of 2 clients connected"):
        asked.ask(StatisticsOrder)


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"num_clients": 0}, ConfigurationError, "^num_clients: Input should be greater than or equal to 1"),
        ({"timeout_s": -1}, ConfigurationError, "^timeout_s: Input should be greater than 0"),
        ({"client": 2}, ConfigurationError, "^client: Extra inputs are not permitted"),
        ({"workload": "digit"}, UnknownNameError, "did you mean 'digits'"),
        ({"broker": "http://host"}, ConfigurationError, "redis://"),
        ({"broker": "redis://localhost:1/0"}, BrokerUnreachableError, "no Redis answers at"),
    ],
)
def test_wrong_settings_are_refused_before_anything_starts(
    settings: dict[str, object], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told), connect_clients(**settings):  # type: ignore[arg-type]
        pytest.fail("there is nobody to ask")
