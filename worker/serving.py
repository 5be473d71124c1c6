"""The clients that a worker serves: one, or many that share its processes and one queue (``CLIENT_COUNT``).

The worker's main process loads the data of each client once, to say what it has, and drops it again. A pool process
loads it when an order is for that client. So memory holds the data of ``NUM_KEPT`` clients a process at the most,
beside what the workload itself keeps, of which the pool processes share the main process's copy.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from tasks.announcement import Announcement
from tasks.blobs.blob import BlobStore
from tasks.blobs.stores import open_store
from tasks.broker import connection
from tasks.errors import FederationError
from tasks.messages import Response, Status
from tasks.plugins import add_current_folder
from tasks.scope import client_queue, shared_queue
from tasks.user_code import SEE_LOG, UserCodeError, checked_client_data, user_code
from tasks.workload import ClientData, DataSource, Part, Workload, load_workload
from worker import compute
from worker.client import Client
from worker.connection import RedisConnection
from worker.identity import Identity, client_folders, take_identity, take_worker_identity
from worker.models import Models
from worker.partition_leases import wait_for_part
from worker.settings import ClientSettings

logger = logging.getLogger(__name__)

NUM_KEPT = 8
"""Clients whose data a process keeps; with one client, that is loaded once and for all."""
_MAX_RECENT_RESPONSES = 1000


class Serving:
    """The clients that this process serves, and what it answered last.

    Attributes:
        incarnation: New each time the worker starts.
    """

    def __init__(self) -> None:
        self.incarnation = secrets.token_hex(8)
        self._clients: dict[str, Callable[[], Client]] = {}
        self._recent: dict[str, Response] = {}

    def add(self, client: Client) -> None:
        """Serve a client."""
        self.add_later(client.client_id, lambda: client)

    def add_later(self, client_id: str, load: Callable[[], Client]) -> None:
        """Serve a client that ``load`` returns whenever it is needed."""
        self._clients[client_id] = load

    def find(self, client_id: str) -> Client:
        """Return the client of this id.

        Raises:
            LookupError: If there is none.
        """
        if client_id not in self._clients:
            raise LookupError(f"this worker (process {os.getpid()}) doesn't serve client {client_id!r}")
        return self._clients[client_id]()

    def carry_out(self, act: Callable[[], Response], order_id: str, client_id: str) -> Response:
        """Return what ``act`` answers, with the time it took; whatever it raises becomes an answer that says so.

        An order that comes twice is carried out once and answered as before, as long as the broker remembers the
        answer.
        """
        recent = self._recent.get(order_id)
        if recent is not None and client_id in self._clients and self.find(client_id).stands_by(recent):
            return recent
        started = time.monotonic()
        logger.info("order %s: begun", order_id)
        try:
            response = act()
        except Exception as error:  # the boundary: a client's failure is a value
            logger.exception("client %s failed at order %s", client_id, order_id)
            is_users = isinstance(error, UserCodeError)
            reason = f"{error}{SEE_LOG}" if is_users else f"{type(error).__name__}: {error}"
            response = Response(order_id=order_id, client_id=client_id, status=Status.FAILED, reason=reason)
        response = response.model_copy(update={"duration_s": round(time.monotonic() - started, 6)})
        logger.info("order %s: %s after %.3f s", order_id, response.status, response.duration_s)
        self._recent[order_id] = response
        while len(self._recent) > _MAX_RECENT_RESPONSES:
            del self._recent[next(iter(self._recent))]
        return response


@dataclass(frozen=True, slots=True)
class Served:
    """Which clients a worker serves.

    Attributes:
        identity: The worker's own: its only client's, or what the ids of its clients begin with.
        folders: Client id -> the client's folder.
        shared_queue: The queue by which the orders of several clients come; empty: it is a single client's own.
    """

    identity: Identity
    folders: Mapping[str, Path]
    shared_queue: str = ""

    @property
    def queue(self) -> str:
        """The queue by which orders come."""
        return self.shared_queue or client_queue(self.identity.client_id)


def take_clients(settings: ClientSettings) -> Served:
    """Take the identities of the clients that the settings ask for.

    Raises:
        ConfigurationError: If another worker uses one of them, or a folder can't be written.
    """
    if settings.num_clients is None:
        identity = take_identity(settings.state, settings.client_id)
        return Served(identity, {identity.client_id: identity.folder})
    identity = take_worker_identity(settings.state, settings.client_id)
    folders = client_folders(settings.state, identity.client_id, settings.num_clients)
    return Served(identity, folders, shared_queue(identity.client_id, settings.num_clients))


def load_clients(settings: ClientSettings, served: Served, serving: Serving) -> list[Announcement]:
    """Load what the clients have, have this process serve them, and return what to announce of each.

    Raises:
        FederationError: If the workload or a client's data can't be loaded, or what a run may ask for isn't there.
    """
    add_current_folder()
    settings.allowed.load()
    workload = load_workload(settings.workload)
    sources = _sources(settings, served, workload)
    compute.use_one_thread()
    blobs = open_store(settings.blobs or settings.broker_url)
    load = functools.lru_cache(maxsize=NUM_KEPT)(_loader(settings, served, serving.incarnation, sources, blobs))
    hardware = compute.hardware()
    announcements = []
    for client_id in served.folders:
        serving.add_later(client_id, functools.partial(load, client_id))
        client = load(client_id)
        data = client.data
        announcements.append(
            Announcement(
                client_id=client_id,
                incarnation=serving.incarnation,
                workload=settings.workload,
                num_examples=data.num_train,
                labels=data.labels,
                hardware=hardware,
                heartbeat_s=settings.heartbeat_s,
                shared_queue=served.shared_queue,
                blobs=blobs.identity,
                num_processes=settings.num_processes,
            )
        )
    compute.warm_up()
    _warm_up(client.workload, data)  # the last client's, which is loaded
    if served.shared_queue:
        _empty(settings, served.shared_queue)
    num_examples = sum(announcement.num_examples for announcement in announcements)
    who = f"{len(announcements)} clients have" if served.shared_queue else f"client {served.identity.client_id} has"
    logger.info("%s %d examples of %s", who, num_examples, settings.workload)
    return announcements


def _warm_up(workload: Workload, data: ClientData) -> None:
    """Have the workload get ready; that it can't is no reason not to join: its first order will tell."""
    try:
        with user_code("warm_up()"):
            workload.warm_up(data.train)
    except FederationError:
        logger.warning("the workload can't get ready to train, and is given orders all the same", exc_info=True)


def _empty(settings: ClientSettings, queue: str) -> None:
    """Take the orders to a former start of this worker from its queue: those that are still wanted are sent again.

    An order to one client of many can't be taken back by the orchestrator, as others' are in the same queue.
    """
    with contextlib.suppress(RedisError, OSError), connection.connect(settings.broker_url, retries=0) as client:
        client.unlink(queue)


def _sources(settings: ClientSettings, served: Served, workload: Workload) -> dict[str, DataSource]:
    """Return where each client's data is; several share out the part that is their worker's, or the whole."""
    if served.shared_queue:
        whole, count = settings.part or Part(0, 1), len(served.folders)
        return {
            client_id: DataSource(settings.data, Part(whole.index * count + index, whole.count * count))
            for index, client_id in enumerate(served.folders)
        }
    client_id, part = served.identity.client_id, settings.part
    if part is None and workload.splits_data:
        with connection.connect(settings.broker_url, retries=0) as client:
            part = wait_for_part(client, client_id)
    return {client_id: DataSource(settings.data, part) if part is not None else DataSource(settings.data)}


def _loader(
    settings: ClientSettings,
    served: Served,
    incarnation: str,
    sources: Mapping[str, DataSource],
    blobs: BlobStore,
) -> Callable[[str], Client]:
    at_broker = RedisConnection(connection.connect(settings.broker_url))
    models = Models(are_shared=len(served.folders) > 1)

    def load(client_id: str) -> Client:
        workload = load_workload(settings.workload)  # a client's own: what it keeps there is no other's
        of_whom = f" of {client_id}" if served.shared_queue else ""
        with user_code(f"client_data(){of_whom}"):
            data = checked_client_data(workload.client_data(sources[client_id]))
        return Client(
            client_id=client_id,
            workload_name=settings.workload,
            workload=workload,
            data=data,
            blobs=blobs,
            folder=served.folders[client_id],
            incarnation=incarnation,
            connection=at_broker,
            allowed=settings.allowed,
            models=models,
        )

    return load
