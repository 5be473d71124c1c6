"""Putting a run on the wire: the broker, the workers that the orchestrator starts, and what it keeps up there."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from orchestrator.broker_memory import BrokerMemory, WatchedRegistry
from orchestrator.config import RunConfig
from orchestrator.embedded.processes import Processes
from orchestrator.embedded.server import start_server
from orchestrator.embedded.supervisor import Supervisor
from orchestrator.run_folder import RunFolder
from orchestrator.transport import Transport, Wire
from tasks import broker, federation, names
from tasks.app import make_app
from tasks.stores import open_store

logger = logging.getLogger(__name__)

_REFRESH_S = federation.LIFETIME_S / 4


@contextmanager
def connect_run(config: RunConfig, folder: RunFolder, broker_url: str | None) -> Iterator[Wire]:
    """Bring up what a run needs and take it down in the end.

    Args:
        config: The run's configuration.
        folder: The run's folder.
        broker_url: The broker's URL; None starts a server and local clients.

    Raises:
        BrokerUnreachableError: If there is no broker.
        FederationBusyError: If another orchestrator is at work on it.
    """
    if broker_url is not None:
        broker.check_reachable(broker_url)
    with _blob_folder(config, folder) as blob_folder, Processes() as processes:
        url = broker_url or start_server(processes, folder.logs / "server.log")
        with broker.connect(url) as client:
            notice = _Notice(url, config)
            notice.put_up()
            if not broker.check_keeps_all(client):
                logger.warning(
                    "the broker doesn't say (INFO memory) whether it evicts keys: it must not, see docs/faults.md"
                )
            memory = BrokerMemory(broker.connect_quickly(url), config.run_id)
            if memory.look():
                _note_orders_forgotten(config, folder)
            memory.take_forgotten()
            supervisor = Supervisor(processes, config, folder, url)
            try:
                supervisor.start_own_worker()
                if broker_url is None:
                    supervisor.start_clients()
                yield _wire(url, client, config, notice, memory, supervisor, blob_folder)
            finally:
                notice.take_down()


@contextmanager
def _blob_folder(config: RunConfig, folder: RunFolder) -> Iterator[Path | None]:
    """Make the folder of blobs, where all processes are on this machine, and remove it in the end."""
    if not config.local:
        yield None
        return
    shutil.rmtree(folder.blobs, ignore_errors=True)  # what a former start has left
    folder.blobs.mkdir()
    try:
        yield folder.blobs
    finally:
        shutil.rmtree(folder.blobs, ignore_errors=True)


def _wire(
    url: str,
    client: Redis,
    config: RunConfig,
    notice: _Notice,
    memory: BrokerMemory,
    supervisor: Supervisor,
    blob_folder: Path | None,
) -> Wire:
    app = make_app("orchestrator", url, include=())
    # Those who look at the broker at every tick look again at the next, rather than wait for it.
    registry = WatchedRegistry(broker.connect_quickly(url), memory)

    def tend() -> bool:
        own_worker_ended = supervisor.tend()
        notice.refresh()
        return own_worker_ended

    return Wire(
        transport=Transport(app, url, config.run_id),
        present=registry.present,
        tell=registry.say_passed_over,
        blobs=open_store(url, blob_folder),
        broker_time=broker.Clock(client),
        tend=tend,
        tidy=lambda: tidy(client, config.run_id),
        forgot=memory.take_forgotten,
    )


def _note_orders_forgotten(config: RunConfig, folder: RunFolder) -> None:
    """Have the orders of a round that is taken up again sent again: the broker was emptied while nobody looked.

    Local clients, which were started anew, get theirs again anyway.
    """
    opened = folder.open_round()
    if opened is not None and not config.local:
        folder.save_open_round(opened.model_copy(update={"orders_are_out": False}))


class _Notice:
    """The notice that this run is on."""

    def __init__(self, url: str, config: RunConfig) -> None:
        self._client = broker.connect_quickly(url)
        self._notice = federation.Notice(run_id=config.run_id, num_parts=config.num_clients)
        self._refreshed = 0.0

    def put_up(self) -> None:
        federation.put_up(self._client, self._notice)
        self._refreshed = time.monotonic()

    def refresh(self) -> None:
        """Keep the notice up, if it is time to.

        Raises:
            ConfigurationError: If the broker was set to remove keys since the run began.
        """
        if time.monotonic() - self._refreshed < _REFRESH_S:
            return
        try:
            self.put_up()
            broker.check_keeps_all(self._client)
        except (RedisError, OSError) as error:
            logger.warning("the broker can't be reached: %s", error)

    def take_down(self) -> None:
        try:
            federation.take_down(self._client, self._notice.run_id)
        except (RedisError, OSError) as error:
            logger.warning("the run's notice could not be taken down: %s", error)


def tidy(client: Redis, run_id: str) -> None:
    """Remove what a run has left on the broker: blobs, answers that came late."""
    patterns = (f"fl:blob:{run_id}/*", f"fl:blob:*/{run_id}/*", f"celery-t*-meta-*{run_id}/*")
    for pattern in patterns:
        for key in client.scan_iter(match=pattern, count=1000):
            client.unlink(key)
    client.unlink(names.mark_key(run_id))
