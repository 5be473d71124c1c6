"""What ``celery -A worker worker`` finds: a client that joins the federation by itself.

The worker's main process loads the workload and the data, so that every pool process has them from the start; it
keeps up the heartbeat; the pool process (one, so that soft time limits work) carries out the orders.
"""

from __future__ import annotations

import functools
import logging
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import billiard.pool
from celery import signals

from tasks import broker
from tasks.app import make_app, transport_options
from tasks.blobs import RedisChunks
from tasks.errors import FederationError
from tasks.lifeline import die_with_parent
from tasks.loading import add_current_folder
from tasks.names import client_queue
from tasks.presence import LIFETIME_HEARTBEATS, Announcement
from tasks.workload import DataSource, load_workload
from worker import compute
from worker.absence import RedisAbsence
from worker.client import Client, add_client
from worker.heartbeat import Heartbeat
from worker.identity import Identity, take_identity
from worker.seats import wait_for_part
from worker.settings import ClientSettings

logger = logging.getLogger(__name__)


def _fail(error: FederationError) -> None:
    """End this process with one line that says what is wrong."""
    sys.stderr.write(f"error: {error}\n")
    sys.exit(error.exit_code)


def _settings() -> ClientSettings:
    try:
        return ClientSettings.from_environment()
    except FederationError as error:
        _fail(error)
        raise


settings = _settings()
app = make_app(
    "worker",
    settings.broker_url,
    include=("worker.tasks",),
    worker_concurrency=1,
    worker_pool="worker.pool:TaskPool",
)


@dataclass
class _Worker:
    """The one client that this worker process serves."""

    identity: Identity | None = None
    announcement: Announcement | None = None
    heartbeat: Heartbeat | None = None
    incarnation: str = field(default_factory=lambda: secrets.token_hex(8))


_worker = _Worker()


@signals.celeryd_init.connect
def _take_identity(conf: Any, **_: object) -> None:
    try:
        _worker.identity = take_identity(settings.state, settings.client_id)
    except FederationError as error:
        _fail(error)
        return
    conf.broker_transport_options = transport_options(_worker.identity.client_id)


@signals.celeryd_after_setup.connect
def _prepare(instance: Any, **_: object) -> None:
    """Load what the client has, and consume its own queue and no other."""
    assert _worker.identity is not None
    try:
        client = _load_client(_worker.identity)
    except FederationError as error:
        _fail(error)
        return
    except KeyboardInterrupt:
        sys.exit(130)
    add_client(client)
    _worker.announcement = Announcement(
        client_id=client.client_id,
        incarnation=_worker.incarnation,
        workload=settings.workload,
        num_examples=client.data.num_train,
        labels=client.data.labels,
        hardware=compute.hardware(),
        heartbeat_s=settings.heartbeat_s,
    )
    instance.app.amqp.queues.select([client_queue(client.client_id)])


@signals.worker_process_init.connect
def _start_pool_process(**_: object) -> None:
    die_with_parent()
    # A process that ends makes sure that its last answer was taken. When its worker is told to end just as an order
    # comes in, that can't be, and it would wait for half a minute (tenths of a second).
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 20
    compute.use_all_threads()


@signals.worker_ready.connect
def _join(**_: object) -> None:
    assert _worker.announcement is not None
    # A sign of life that isn't taken as long as an announcement lives is given again, on a new connection.
    timeout_s = min(settings.heartbeat_s * LIFETIME_HEARTBEATS, broker.CHUNK_TIMEOUT_S)
    client = broker.connect(settings.broker_url, retries=0, timeout_s=timeout_s)
    _worker.heartbeat = Heartbeat(client, _worker.announcement)
    _worker.heartbeat.start()


@signals.worker_shutting_down.connect
def _begin_to_leave(**_: object) -> None:
    if _worker.heartbeat is not None:
        _worker.heartbeat.leave()


@signals.worker_shutdown.connect
def _leave(**_: object) -> None:
    if _worker.heartbeat is not None:
        _worker.heartbeat.stop()


def _load_client(identity: Identity) -> Client:
    add_current_folder()
    workload = load_workload(settings.workload)
    part = settings.part
    if part is None and workload.splits_data:
        with broker.connect(settings.broker_url, retries=0) as client:
            part = wait_for_part(client, identity.client_id)
    source = DataSource(settings.data, part) if part is not None else DataSource(settings.data)
    compute.use_one_thread()
    data = workload.client_data(source)
    for_chunks = broker.connect(settings.broker_url, timeout_s=broker.CHUNK_TIMEOUT_S)
    logger.info("client %s has %d examples of %s", identity.client_id, data.num_train, settings.workload)
    return Client(
        client_id=identity.client_id,
        workload_name=settings.workload,
        workload=workload,
        data=data,
        chunks=RedisChunks(for_chunks),
        folder=Path(identity.folder),
        incarnation=_worker.incarnation,
        leave=_leave_for,
        broker_time=functools.partial(broker.time_of, broker.connect(settings.broker_url)),
        algorithm=settings.algorithm,
    )


def _leave_for(seconds: float) -> None:
    """Leave, for that long or for good. Called in a pool process; the main process's heartbeat does the rest."""
    assert _worker.identity is not None
    with broker.connect(settings.broker_url) as client:
        RedisAbsence(client, _worker.identity.client_id).begin(_worker.incarnation, seconds)
