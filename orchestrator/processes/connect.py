"""Putting a run on the wire: the broker, the workers that the orchestrator starts, and what it keeps up there."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from redis import Redis

from celeriac import selectors
from orchestrator.config import RunConfig
from orchestrator.processes.processes import Process, Processes
from orchestrator.processes.server import new_authority, start_server
from orchestrator.processes.supervisor import Supervisor
from orchestrator.processes.workers import client_workers
from orchestrator.store.audit import AuditTrail
from orchestrator.store.run_folder import RunFolder
from orchestrator.store.updates import blobs_url
from orchestrator.transport.broker_memory import BrokerMemory, WatchedRegistry
from orchestrator.transport.elsewhere import Elsewhere
from orchestrator.transport.over_redis import RedisTransport
from orchestrator.transport.part_grants import PartGrants
from orchestrator.transport.signatures import Signatures, ignore
from orchestrator.transport.strays import Strays
from orchestrator.transport.transport import RunServices
from orchestrator.trust.reaching import reach
from orchestrator.trust.watch import Watch
from tasks.announcement import PassedOver
from tasks.blobs.blob import BlobStore
from tasks.blobs.stores import is_anywhere, open_store
from tasks.broker import connection, needs, run_lock
from tasks.broker.app import make_app
from tasks.broker.probe import check_broker
from tasks.files import make_private
from tasks.messages import HARD_LIMIT_S, turn_timeout_s
from tasks.scope import RunScope

logger = logging.getLogger(__name__)

FOLDER_TTL_S = 30 * 24 * 3600
"""Seconds for which own workers on other machines know where a run's folder is."""


@contextmanager
def connect_run(
    config: RunConfig, folder: RunFolder, broker: str | None, *, has_jobs: bool = True
) -> Iterator[RunServices]:
    """Bring up what a run needs and take it down in the end.

    Args:
        config: The run's configuration.
        folder: The run's folder.
        broker: The broker's URL, or the operator's folder; None starts a server and local clients.
        has_jobs: Whether there is work for a worker of the orchestrator's own, which is started then.

    Raises:
        BrokerUnreachableError: If there is no broker.
        BrokerUnfitError: If there is one that won't do.
        FederationBusyError: If too many runs are on there.
    """
    url, authority = reach(broker) if broker is not None else ("", None)
    if url:
        check_broker(url, needs.of_orchestrator(config.run_id), connection.OUTAGE_S)
    with _blob_folder(config, folder), Processes() as processes:
        local_clients: list[Process] = []
        if authority is None and not url:
            authority = new_authority(processes)
            local_clients = client_workers(config, folder, authority)
            url = start_server(processes, folder.logs / "server.log", authority)
        with connection.connect(url) as client:
            lock = _put_up(url, client, config, folder)
            memory = BrokerMemory(connection.connect_quickly(url), config.run_id)
            if memory.look():
                _note_orders_forgotten(config, folder)
            memory.take_forgotten()
            supervisor = Supervisor(processes, config, folder, url)
            # Keys that are gone with the run's processes prove nothing afterwards.
            trail = AuditTrail(folder, config.run_id, authority.key) if authority and not config.local else None
            signatures = Signatures(authority, trail.note_answer if trail else ignore) if authority else None
            try:
                if has_jobs:
                    supervisor.start_own_worker()
                supervisor.start_clients(local_clients)
                where = blobs_url(config, folder, url)
                made = _services(url, client, config, lock, memory, supervisor, open_store(where), signatures)
                made = replace(made, note_round=trail.note_round) if trail else made
                if authority:
                    watch = Watch(connection.connect_quickly(url), authority.clients)
                    made = replace(made, cut_off_overbearing=watch.cut_off_overbearing, cut_off=watch.cut_off)
                yield replace(made, broker_room=partial(connection.memory_left, client)) if where == url else made
            finally:
                lock.take_down()


def _put_up(url: str, client: Redis, config: RunConfig, folder: RunFolder) -> run_lock.RunLock:
    """Tell clients and own workers at the broker of the run, and return what it is told by.

    Raises:
        FederationBusyError: If too many runs are on there.
    """
    notice = run_lock.Notice(
        run_id=config.run_id,
        num_parts=config.num_clients,
        wants=selectors.needs(selectors.load_selector(config.select)),
        order_s=config.timeout_s + HARD_LIMIT_S + turn_timeout_s(config.timeout_s),
    )
    lock, scope = run_lock.RunLock(connection.connect_quickly(url), notice), RunScope(config.run_id)
    client.set(scope.folder_key, os.fsencode(folder.path.resolve()), ex=FOLDER_TTL_S)
    if _is_anywhere(config):
        client.set(scope.store_key, config.blobs or "", ex=FOLDER_TTL_S)
    lock.put_up()
    if not connection.check_keeps_all(client):
        logger.warning("the broker doesn't say (INFO memory) whether it evicts keys: it must not, see docs/faults.md")
    return lock


@contextmanager
def _blob_folder(config: RunConfig, folder: RunFolder) -> Iterator[None]:
    """Make the run's own folder of blobs, if all processes are on this machine and it names no other; remove it."""
    shutil.rmtree(folder.blobs, ignore_errors=True)  # what a former start has left
    if config.local and not config.blobs:
        make_private(folder.blobs)
    try:
        yield
    finally:
        shutil.rmtree(folder.blobs, ignore_errors=True)


def _services(
    url: str,
    client: Redis,
    config: RunConfig,
    lock: run_lock.RunLock,
    memory: BrokerMemory,
    supervisor: Supervisor,
    blobs: BlobStore,
    signatures: Signatures | None,
) -> RunServices:
    app = make_app("orchestrator", url, include=(), result_backend="orchestrator.transport.chords:ChordBackend")
    # Those who look at the broker at every tick look again at the next, rather than wait for it.
    registry = WatchedRegistry(connection.connect_quickly(url), memory, signatures.clients if signatures else None)

    parts = PartGrants(connection.connect_quickly(url), config.num_clients)

    def grant(client_ids: Collection[str]) -> None:
        if lock.is_oldest:  # that run's parts are the clients'
            parts.grant(client_ids)

    transport = RedisTransport(app, url, config.run_id, signatures, grant)
    elsewhere = Elsewhere(connection.connect_quickly(url), config.run_id) if _is_anywhere(config) else None
    strays = Strays(connection.connect_quickly(url), config.run_id)

    def tell(reasons: PassedOver) -> None:
        of_run = f"(run {config.run_id})"
        registry.say_passed_over({name: (said, f"{why} {of_run}") for name, (said, why) in reasons.items()})

    def poll() -> bool:
        is_lost = supervisor.poll() | transport.take_reconnected()
        lock.refresh()
        return is_lost if elsewhere is None else is_lost | elsewhere.look()

    return RunServices(
        transport=transport,
        present=partial(parts.look, registry.present),
        tell=tell,
        blobs=blobs,
        broker_time=connection.Clock(client),
        poll=poll,
        tidy=lambda: tidy(client, blobs, config.run_id),
        forgot=memory.take_forgotten,
        others_s=lambda: sum(notice.order_s for notice in lock.others()),
        remove_strays=strays.remove if blobs.needs_permits else lambda _: {},
        num_elsewhere=elsewhere.num_present if elsewhere else lambda: 0,
    )


def _is_anywhere(config: RunConfig) -> bool:
    """Say whether own workers can work for a run without its folder, as they reach its blobs."""
    return config.blobs is not None and is_anywhere(config.blobs)


def _note_orders_forgotten(config: RunConfig, folder: RunFolder) -> None:
    """Have the orders of a round that is taken up again sent again: the broker was emptied while nobody looked.

    Local clients, which were started anew, get theirs again anyway.
    """
    opened = folder.open_round()
    if opened is not None and not config.local:
        folder.save_open_round(opened.model_copy(update={"orders_are_out": False}))


def tidy(client: Redis, blobs: BlobStore, run_id: str) -> None:
    """Remove what a run has left: blobs, answers that came late."""
    scope = RunScope(run_id)
    blobs.discard_matching(scope.blobs)
    for key in client.scan_iter(match=scope.results_and_chords, count=1000):
        client.unlink(key)
    keys = scope.mark_key, scope.folder_key, scope.store_key, scope.elsewhere_key, scope.queue, scope.anywhere_queue
    client.unlink(*keys)
