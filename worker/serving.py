"""The clients that a worker serves: one, or many that share its processes and one queue (``CLIENT_COUNT``).

The worker's main process loads the data of each client once, to say what it has, and drops it again. A pool process
loads it when an order is for that client. So memory holds the data of ``NUM_KEPT`` clients a process at the most,
beside what the workload itself keeps, of which the pool processes share the main process's copy.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from algorithms import load_algorithm
from compressors import load_compressor
from tasks import broker
from tasks.errors import FederationError
from tasks.loading import add_current_folder
from tasks.names import client_queue, result_key, shared_queue
from tasks.presence import Announcement
from tasks.stores import given_folder, open_store
from tasks.turns import RedisTurns
from tasks.user_code import checked_client_data, user_code
from tasks.workload import ClientData, DataSource, Part, Workload, load_workload
from worker import compute
from worker.absence import RedisAbsence
from worker.client import Client, add_client_later
from worker.identity import Identity, client_folders, take_identity, take_worker_identity
from worker.seats import wait_for_part
from worker.settings import ClientSettings

logger = logging.getLogger(__name__)

NUM_KEPT = 8
"""Clients whose data a process keeps; with one client, that is loaded once and for all."""


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


def load_clients(settings: ClientSettings, served: Served, incarnation: str) -> list[Announcement]:
    """Load what the clients have, make them known to this process, and return what to announce of each.

    Raises:
        FederationError: If the workload or a client's data can't be loaded, or what a run may ask for isn't there.
    """
    add_current_folder()
    if settings.algorithm is not None:
        load_algorithm(settings.algorithm)
    if settings.compression is not None:
        load_compressor(settings.compression)
    workload = load_workload(settings.workload)
    sources = _sources(settings, served, workload)
    compute.use_one_thread()
    load = functools.lru_cache(maxsize=NUM_KEPT)(_loader(settings, served, incarnation, workload, sources))
    hardware = compute.hardware()
    announcements = []
    for client_id in served.folders:
        add_client_later(client_id, functools.partial(load, client_id))
        data = load(client_id).data
        announcements.append(
            Announcement(
                client_id=client_id,
                incarnation=incarnation,
                workload=settings.workload,
                num_examples=data.num_train,
                labels=data.labels,
                hardware=hardware,
                heartbeat_s=settings.heartbeat_s,
                shared_queue=served.shared_queue,
                num_processes=settings.num_processes,
            )
        )
    compute.warm_up()
    _warm_up(workload, data)  # the last client's, which is loaded
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
    with contextlib.suppress(RedisError, OSError), broker.connect(settings.broker_url, retries=0) as client:
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
        with broker.connect(settings.broker_url, retries=0) as client:
            part = wait_for_part(client, client_id)
    return {client_id: DataSource(settings.data, part) if part is not None else DataSource(settings.data)}


def _loader(
    settings: ClientSettings,
    served: Served,
    incarnation: str,
    workload: Workload,
    sources: Mapping[str, DataSource],
) -> Callable[[str], Client]:
    blobs = open_store(settings.broker_url, given_folder())
    connection = broker.connect(settings.broker_url)
    clock = broker.Clock(connection)
    turns = RedisTurns(connection)

    def leave(client_id: str, seconds: float) -> None:
        """Leave, for that long or for good. Called in a pool process; the main process's heartbeat does the rest."""
        RedisAbsence(connection, client_id).begin(incarnation, seconds)

    def load(client_id: str) -> Client:
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
            leave=functools.partial(leave, client_id),
            broker_time=clock,
            algorithm=settings.algorithm,
            turns=turns,
            is_answered=lambda order_id: bool(connection.exists(result_key(order_id))),
            compression=settings.compression,
        )

    return load
