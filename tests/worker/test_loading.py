"""Which clients a worker takes, and what it says of them, with their blobs in a folder: no broker is needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.announcement import Announcement
from tasks.broker.connection import connect
from tasks.errors import ConfigurationError
from tasks.scope import client_queue
from tasks.user_code import UserCodeError
from tasks.workload import ClientData, DataSource
from tests.support import Pull, points
from worker.loading import NUM_KEPT, Loader
from worker.serving import Served, Serving, take_clients
from worker.settings import ClientSettings

Take = Callable[[ClientSettings], tuple[Served, Serving]]


class Sharing(Pull):
    """Has as many examples as its part's number."""

    def client_data(self, source: DataSource) -> ClientData:
        return points(str(source.part), source.part.index + 1)


class NotReady(Sharing):
    """Can't get ready to train."""

    def warm_up(self, data: Any) -> None:
        raise RuntimeError("no compiler")


class Third(Sharing):
    """The data of the third client can't be read."""

    def client_data(self, source: DataSource) -> ClientData:
        if source.part.index == 2:
            raise OSError("no such disk")
        return super().client_data(source)


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    """Give torch back the threads that a process of several clients takes from it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def settings(tmp_path: Path, workload: str = "Sharing", **environment: str) -> ClientSettings:
    """The settings of a worker whose broker nobody has started."""
    variables = {
        "CELERY_BROKER_URL": "redis://127.0.0.1:1",
        "CLIENT_BLOBS": tmp_path.as_uri(),
        "CLIENT_WORKLOAD": f"{__name__}:{workload}",
        "CLIENT_STATE": str(tmp_path / "state"),
        "CLIENT_ID": "anna",
        **environment,
    }
    return ClientSettings.from_environment(variables)


@pytest.fixture
def take() -> Iterator[Take]:
    """Takes the clients' identities, which are free again when the test is over."""
    taken: list[Served] = []

    def take(chosen: ClientSettings) -> tuple[Served, Serving]:
        taken.append(take_clients(chosen))
        return taken[-1], Serving()

    yield take
    for served in taken:
        served.identity.lock.close()


def load_clients(chosen: ClientSettings, served: Served, serving: Serving) -> list[Announcement]:
    """Have this process serve the clients, and return what to announce of all of them."""
    loader = Loader(chosen, served, serving, partial(connect, chosen.broker_url))
    loader.serve()
    return loader.describe(list(served.folders))


def test_a_single_client_has_a_queue_and_the_part_of_its_own(take: Take, tmp_path: Path) -> None:
    # Given a client with the second of four parts
    chosen = settings(tmp_path, CLIENT_PART="2/4")
    served, serving = take(chosen)
    # When it is loaded
    [announced] = load_clients(chosen, served, serving)
    # Then it says what it has, and is served with it
    assert (announced.client_id, announced.num_examples, announced.labels) == ("anna", 2, {"point": 2})
    assert (announced.shared_queue, announced.num_processes) == ("", 1)
    assert announced.num_held_out == len(serving.find("anna").data.test) > 0
    assert served.queue == client_queue("anna")
    assert serving.find("anna").data.num_train == 2


def test_clients_of_one_worker_share_out_its_part_and_one_queue(take: Take, tmp_path: Path) -> None:
    # Given a worker of three clients that has the second half
    chosen = settings(tmp_path, CLIENT_COUNT="3", CLIENT_PART="2/2")
    served, serving = take(chosen)
    # When they are loaded
    announced = load_clients(chosen, served, serving)
    # Then these are the fourth to the sixth of six parts, and their orders come by one queue
    assert {each.client_id: each.num_examples for each in announced} == {"anna-1": 4, "anna-2": 5, "anna-3": 6}
    assert {each.shared_queue for each in announced} == {served.queue}
    assert [serving.find(f"anna-{number}").data.num_train for number in (1, 2, 3)] == [4, 5, 6]
    # And each has a folder and a workload of its own
    clients = [serving.find(f"anna-{number}") for number in (1, 2, 3)]
    assert len({client.folder for client in clients}) == len({id(client.workload) for client in clients}) == 3


def test_a_process_keeps_the_data_of_the_clients_that_it_served_last(take: Take, tmp_path: Path) -> None:
    # Given a worker of more clients than whose data a process keeps
    chosen = settings(tmp_path, CLIENT_COUNT=str(NUM_KEPT + 1))
    served, serving = take(chosen)
    load_clients(chosen, served, serving)
    # When orders come for the last, all others, and the last again, then its data was loaded anew
    *others, last = served.folders
    before = serving.find(last)
    assert serving.find(last) is before
    for client_id in others:
        serving.find(client_id)
    assert serving.find(last) is not before


def test_a_workload_that_cant_get_ready_is_given_orders_all_the_same(
    take: Take, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a workload whose warm_up() raises, when its client is loaded, then it is announced, and the log says so
    chosen = settings(tmp_path, "NotReady", CLIENT_PART="1/1")
    with caplog.at_level(logging.WARNING):
        assert len(load_clients(chosen, *take(chosen))) == 1
    assert "the workload can't get ready to train" in caplog.text
    assert "no compiler" in caplog.text


def test_of_many_clients_it_is_said_whose_data_cant_be_loaded(take: Take, tmp_path: Path) -> None:
    # Given four clients, of which the third's data can't be read, when they are loaded, then that one is named
    chosen = settings(tmp_path, "Third", CLIENT_COUNT="4")
    with pytest.raises(UserCodeError, match=r"^client_data\(\) of anna-3: OSError: no such disk"):
        load_clients(chosen, *take(chosen))


def test_what_a_run_may_ask_for_is_loaded_before_anybody_is_announced(take: Take, tmp_path: Path) -> None:
    # Given a client that allows an algorithm that isn't there, when it is loaded, then it says so
    chosen = settings(tmp_path, CLIENT_PART="1/1", CLIENT_ALGORITHM="nowhere:RULE")
    with pytest.raises(ConfigurationError, match="no module 'nowhere'"):
        load_clients(chosen, *take(chosen))


def test_a_client_that_isnt_served_here_isnt_found(take: Take, tmp_path: Path) -> None:
    # Given a worker of one client, when an order is for another, then it says that it doesn't serve that
    chosen = settings(tmp_path, CLIENT_PART="1/1")
    served, serving = take(chosen)
    load_clients(chosen, served, serving)
    with pytest.raises(LookupError, match=r"doesn't serve client 'bert'$"):
        serving.find("bert")
