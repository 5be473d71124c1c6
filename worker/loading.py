"""Loading what a worker's clients have, in the processes that train, and saying of each client what to announce.

Of many clients each pool process loads a share once, to say what they have; the data of one client after another is
dropped again. Later any process loads a client's data when an order for that client comes to it. So memory holds the
data of ``NUM_KEPT`` clients a process at the most, beside what a workload's module keeps.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from redis import Redis
from redis.exceptions import RedisError

from tasks.announcement import Announcement
from tasks.blobs import in_redis
from tasks.blobs.blob import BlobStore
from tasks.blobs.stores import open_store
from tasks.broker import connection
from tasks.errors import FederationError
from tasks.plugins import add_current_folder
from tasks.protocol import PROTOCOL
from tasks.user_code import checked_client_data, user_code
from tasks.workload import DataSource, Part, StartMethod, Workload, find_workload, load_start_method
from worker import compute
from worker.client import Client
from worker.connection import RedisConnection
from worker.models import Models
from worker.partition_leases import wait_for_part
from worker.serving import Served, Serving
from worker.settings import ClientSettings

logger = logging.getLogger(__name__)

NUM_KEPT = 8
"""Clients whose workload and data a process keeps; with one client, these are loaded once and for all."""


@dataclass(frozen=True)
class Loader:
    """Loads clients, in whatever process it is called.

    Attributes:
        settings: How the clients are set up.
        served: Which they are.
        serving: The clients of this process.
        connect: Returns a client for the broker on connections of this process's, as
            :func:`tasks.broker.connection.share` does.
        forks: Whether the processes that train are forked from this one when all is loaded.
        most_together: Orders that one message may bring.
        tell: Is told what is about to be done, like ``client_data()``.
    """

    settings: ClientSettings
    served: Served
    serving: Serving
    connect: Callable[..., Redis]
    forks: bool = False
    most_together: int = 1
    tell: Callable[[str], None] = lambda _: None

    def serve(self) -> None:
        """Have this process serve the clients, each of which is loaded when it is needed."""
        self.serving.tells_errors, self.serving.policy = self.settings.tells_errors, self.settings.allowed.policy
        self.serving.site = self.settings.site
        add_current_folder()
        load = functools.lru_cache(maxsize=NUM_KEPT)(self._load)
        for client_id in self.served.folders:
            self.serving.add_later(client_id, functools.partial(load, client_id))

    def start_method(self) -> StartMethod:
        """Return how the processes that train are to come by what the clients have.

        Raises:
            ConfigurationError: If the workload can't be imported, or says what isn't allowed.
        """
        return self.settings.start_method or load_start_method(self.settings.workload)

    def describe(self, client_ids: Sequence[str]) -> list[Announcement]:
        """Load clients, get ready to train, and return what to announce of each.

        Raises:
            FederationError: If the workload or a client's data can't be loaded, or what a run may ask for isn't there.
        """
        self.tell(f"loading {self.settings.workload}")
        self.settings.allowed.policy.check_own(self.settings.workload)
        self.settings.allowed.load()
        announcements = [self._announcement(self.serving.find(client_id)) for client_id in client_ids]
        compute.warm_up()
        if client_ids:
            self._warm_up(self.serving.find(client_ids[-1]))
        return announcements

    def _announcement(self, client: Client) -> Announcement:
        announcement = Announcement(
            protocol=PROTOCOL,
            client_id=client.client_id,
            incarnation=client.incarnation,
            workload=self.settings.workload,
            num_examples=client.data.num_train,
            labels=client.data.labels,
            hardware=compute.hardware(),
            heartbeat_s=self.settings.heartbeat_s,
            shared_queue=self.served.shared_queue,
            blobs=self._blobs.identity,
            num_processes=self.settings.num_processes,
            most_together=self.most_together,
            holds_out=client.data.test is not None,
            num_held_out=client.data.num_test or 0,
            part=f"{client.lease.index}/{client.lease.count}" if client.lease else "",
        )
        return self.settings.allowed.policy.announced(announcement)

    def _warm_up(self, client: Client) -> None:
        """Have the workload get ready; that it can't is no reason not to join: its first order will tell."""
        self.tell("warm_up()")
        try:
            with user_code("warm_up()"):
                client.workload.warm_up(client.data.train)
        except FederationError:
            logger.warning("the workload can't get ready to train, and is given orders all the same", exc_info=True)

    def _load(self, client_id: str) -> Client:
        workload = self._new_workload()  # a client's own: what it keeps there is no other's
        self._set_threads()
        lease = self._lease(client_id) if workload.splits_data else None
        source = self._source(client_id, lease)
        doing = "client_data()" + (f" of {client_id}" if self.served.shared_queue else "")
        self.tell(doing)
        with user_code(doing):
            data = checked_client_data(workload.client_data(source))
        return Client(
            client_id=client_id,
            workload_name=self.settings.workload,
            workload=workload,
            data=data,
            blobs=self._blobs,
            folder=self.served.folders[client_id],
            incarnation=self.serving.incarnation,
            connection=self._at_broker,
            allowed=self.settings.allowed,
            models=self._models,
            device=self.settings.device,
            memory_bytes=self._memory_bytes,
            stays=self.settings.stays,
            lease=lease,
        )

    def _lease(self, client_id: str) -> Part | None:
        """Wait until a run grants a client a part of the data; None where it comes with one of its own."""
        if self.served.shared_queue or self.settings.part is not None:
            return None
        self.tell("waiting for a part of the data")
        return wait_for_part(self.connect(retries=0), client_id)

    def _source(self, client_id: str, lease: Part | None) -> DataSource:
        """Return where a client's data is; several share out the part that is their worker's, or the whole."""
        part = self.settings.part or lease
        if self.served.shared_queue:
            whole, count = part or Part(0, 1), len(self._numbers)
            return DataSource(
                self.settings.data, Part(whole.index * count + self._numbers[client_id], whole.count * count)
            )
        return DataSource(self.settings.data, part) if part is not None else DataSource(self.settings.data)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {client_id: number for number, client_id in enumerate(self.served.folders)}

    @cached_property
    def _new_workload(self) -> Callable[[], Workload]:
        return find_workload(self.settings.workload)

    @cached_property
    def _set_threads(self) -> Callable[[], None]:
        is_one_of_several = self.forks or self.settings.num_processes > 1
        return compute.use_one_thread if is_one_of_several else compute.use_all_threads

    @cached_property
    def _memory_bytes(self) -> int:
        return compute.memory_bytes()

    @cached_property
    def _blobs(self) -> BlobStore:
        return open_store(self.settings.blobs) if self.settings.blobs else in_redis.of_client(self.connect)

    @cached_property
    def _at_broker(self) -> RedisConnection:
        return RedisConnection(self.connect())

    @cached_property
    def _models(self) -> Models:
        return Models(are_shared=len(self.served.folders) > 1)


def empty(settings: ClientSettings, queue: str) -> None:
    """Take the orders to a former start of this worker from its queue: those that are still wanted are sent again.

    An order to one client of many can't be taken back by the orchestrator, as others' are in the same queue.
    """
    with contextlib.suppress(RedisError, OSError), connection.connect(settings.broker_url, retries=0) as client:
        client.unlink(queue)
