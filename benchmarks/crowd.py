"""Thousands of clients in one process, which broker and orchestrator take for as many machines.

Each has a connection of its own on which it waits for orders, as kombu does, a second at a time. What they announce,
answer and send is made by the worker's own modules. Simulated are the machines: this process carries out one order
after the other, and gives the signs of life of several clients at a time, by one connection. So the broker is asked the
same, in fewer packets. Nothing is signed.
"""

from __future__ import annotations

import base64
import json
import re
import resource
import selectors
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from celery.app.trace import build_tracer
from redis import Redis

from tasks.announcement import UNKNOWN, Announcement
from tasks.blobs import in_redis
from tasks.broker.app import FederationApp, make_app
from tasks.broker.connection import connect, share
from tasks.broker.presence import RedisRegistry
from tasks.broker.url import Broker
from tasks.names import numbered_client_id
from tasks.protocol import PROTOCOL
from tasks.scope import client_queue
from tasks.user_code import checked_client_data
from tasks.workload import DataSource, Part, find_workload
from worker.client import Client
from worker.connection import Absence, RedisConnection, read_told
from worker.models import Models
from worker.serving import Serving

PREFIX = "crowd"
NUM_SLICES = 20
"""Parts of the crowd, each of which gives its signs of life at a time of its own."""
_NOTHING = (b"*-1\r\n", b"_\r\n")
"""That no order has come, in either version of the protocol."""
_MESSAGE = re.compile(rb"\*2\r\n\$\d+\r\n[^\r]*\r\n\$(\d+)\r\n")


class Line:
    """A client's connection for orders.

    Args:
        connection: One of redis-py's, which is connected; all that comes on it is read here.
        queue: The client's.
    """

    def __init__(self, connection: Any, queue: str) -> None:
        self._connection = connection
        self.socket = connection._sock
        self._asking = connection.pack_command("BRPOP", queue, 1)
        self._unread = b""

    def ask(self) -> None:
        """Wait for the next order, for a second."""
        self._connection.send_packed_command(self._asking, check_health=False)

    def read(self) -> dict[str, Any] | None:
        """Return the message that has come, if there is one and it is whole, and ask for the next.

        Raises:
            ConnectionError: If the broker has ended the connection.
        """
        data = self.socket.recv(2**16)
        if not data:
            raise ConnectionError("the broker has ended a connection")
        self._unread += data
        found = _MESSAGE.match(self._unread)
        is_whole = found is not None and len(self._unread) == found.end() + int(found[1]) + len(b"\r\n")
        if not is_whole and self._unread not in _NOTHING:
            return None
        message = json.loads(self._unread[found.end() :]) if found is not None else None
        self._unread = b""
        self.ask()
        return message


class Orders:
    """Carries out orders by the worker's own tasks, traced by Celery as in a pool process."""

    def __init__(self, app: FederationApp) -> None:
        self._app = app
        self._tracers: dict[str, Any] = {}

    def carry_out(self, message: Mapping[str, Any]) -> None:
        """Carry out what a message orders, and store the answer."""
        headers = message["headers"]
        args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
        name = headers["task"]
        if name not in self._tracers:
            task = self._app.tasks[name]
            self._tracers[name] = build_tracer(name, task, self._app.loader, PREFIX, app=self._app)
        self._tracers[name](headers["id"], args, kwargs, {**headers, "args": args, "kwargs": kwargs})


class Signs:
    """Keeps up announcements, a slice of them at a time, until their clients are told to leave for good.

    Args:
        client: A client for the broker.
        announcements: What is announced, with one heartbeat.
    """

    def __init__(self, client: Redis, announcements: Sequence[Announcement]) -> None:
        self._client = client
        self._registry = RedisRegistry(client)
        self._slices = [list(announcements[index::NUM_SLICES]) for index in range(NUM_SLICES)]
        self._pause_s = announcements[0].heartbeat_s / NUM_SLICES
        self._turn = 0
        self.due = time.monotonic()
        self._registry.announce_all(announcements)
        self._registry.tell(announcements[0].client_id)

    def has_any(self) -> bool:
        """Say whether any client is left."""
        return any(self._slices)

    def beat(self) -> None:
        """Give the signs of life of the slice whose turn it is, and say when the next one's are due."""
        announcements = self._slices[self._turn]
        told, _ = read_told(self._client, {said.client_id: said.incarnation for said in announcements})
        staying = [said for said in announcements if told[said.client_id].absence is not Absence.FOR_GOOD]
        self._registry.announce_all([said for said in staying if told[said.client_id].absence is Absence.NONE])
        self._slices[self._turn] = staying
        self._turn = (self._turn + 1) % NUM_SLICES
        self.due += self._pause_s


def live(url: str, app: FederationApp, announcements: Sequence[Announcement]) -> None:
    """Have clients take part until all have left for good."""
    signs, orders, selector = Signs(connect(url, retries=0), announcements), Orders(app), selectors.DefaultSelector()
    pool: Any = Broker.read(url).pool(max_connections=len(announcements))
    for said in announcements:
        line = Line(pool.get_connection(), client_queue(said.client_id))
        selector.register(line.socket, selectors.EVENT_READ, line)
        line.ask()
    while signs.has_any():
        if time.monotonic() >= signs.due:
            signs.beat()
        for key, _ in selector.select(max(0.0, signs.due - time.monotonic())):
            if message := key.data.read():
                orders.carry_out(message)


def gather(url: str, num_clients: int, workload_name: str, folder: Path) -> tuple[FederationApp, list[Announcement]]:
    """Make clients of a workload, each with a part of its data; return the app that serves them, and what they say."""
    app = make_app(PREFIX, url, include=("worker.tasks",))
    app.finalize()
    app.loader.import_default_modules()
    backend: Any = app.backend
    share_own = partial(share, backend.client.connection_pool)
    at_broker, blobs, models = RedisConnection(share_own()), in_redis.of_client(share_own), Models(are_shared=True)
    app.serving, workload, announcements = Serving(), find_workload(workload_name)(), []
    for index in range(num_clients):
        client_id = numbered_client_id(PREFIX, index, num_clients)
        data = checked_client_data(workload.client_data(DataSource(None, Part(index, num_clients))))
        client = Client(
            client_id=client_id,
            workload_name=workload_name,
            workload=workload,
            data=data,
            blobs=blobs,
            folder=folder / client_id,
            incarnation=app.serving.incarnation,
            connection=at_broker,
            models=models,
        )
        app.serving.add(client)
        announcements.append(_announcement(client))
    return app, announcements


def _announcement(client: Client) -> Announcement:
    return Announcement(
        protocol=PROTOCOL,
        client_id=client.client_id,
        incarnation=client.incarnation,
        workload=client.workload_name,
        num_examples=client.data.num_train,
        hardware=UNKNOWN,
        holds_out=client.data.test is not None,
    ).telling(())


@click.command(help="Be thousands of clients that take part in runs, until all have left.")
@click.option("--broker", "url", required=True, help="The broker's URL.")
@click.option("--clients", "num_clients", type=click.IntRange(1), required=True, help="How many clients.")
@click.option("--workload", required=True, help="What they train.")
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="For the clients' own folders.")
def main(url: str, num_clients: int, workload: str, folder: Path) -> None:
    """Take part."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    live(url, *gather(url, num_clients, workload, folder))


if __name__ == "__main__":
    main()
