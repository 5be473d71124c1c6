"""A federation in this process: the real orders, checks, aggregation and checkpoints, through Celery's eager mode.

There is no server and no worker. It's what unit tests of a workload need, and experiments with many runs side by side.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Event, Lock

import orchestrator.tasks  # noqa: F401  (the app of this process has the tasks of both sides)
import worker.tasks  # noqa: F401
from celeriac.selectors import load_selector, needs
from orchestrator.config import RunConfig
from orchestrator.driver.run import Run
from orchestrator.driver.summary import summarise
from orchestrator.federate.by_value import ByValue
from orchestrator.jobs.job import Loaded
from orchestrator.observers.events import Report
from orchestrator.processes.workers import CLIENT, log_of
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.transport import RunServices
from tasks.announcement import Announcement, Hardware, PassedOver
from tasks.blobs.chunks import MemoryChunks
from tasks.broker.app import IN_MEMORY, FederationApp, make_app
from tasks.errors import FederationError
from tasks.files import make_private
from tasks.logs import PrivateLog, make_readable
from tasks.names import numbered_client_id
from tasks.protocol import PROTOCOL
from tasks.user_code import checked_client_data, user_code
from tasks.workload import DataSource, Part, Workload, find_workload
from worker.client import Client
from worker.models import Models
from worker.serving import Serving
from worker.settings import Allowed

_ONE_AT_A_TIME = Lock()
"""Celery's eager mode has one app in a process, which knows one run's clients."""


@dataclass(frozen=True, slots=True)
class Participant:
    """A client: its part of the data, and the workload that it trains, or says that it trains."""

    part: Part
    workload: Workload


@dataclass(slots=True)
class InMemory:
    """What a run's two sides share that are in one process.

    Attributes:
        present: Returns the announcements of the clients that are there, by client id.
        serving: The clients.
        chunks: Where models and updates are while they travel.
        transport: Makes what carries orders and responses.
        tell: Is told why clients take no part.
        forgot: Says whether what was on its way is to be taken for lost.
    """

    present: Callable[[], Mapping[str, Announcement]]
    serving: Serving = field(default_factory=Serving)
    chunks: MemoryChunks = field(default_factory=MemoryChunks)
    transport: Callable[[FederationApp], EagerTransport] = EagerTransport
    tell: Callable[[PassedOver], None] = lambda _: None
    forgot: Callable[[], bool] = lambda: False

    def carry_out(self, folder: RunFolder, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        """Carry out what a folder's run has left to do; one at a time in a process.

        Args:
            folder: The run's.
            report: Is told of what happens; what it raises ends the run.
            clock: Seconds that only go up.

        Raises:
            FederationError: If the run can't go on, or none of its rounds could be closed.
        """
        with _ONE_AT_A_TIME:
            app = _app()
            app.loaded, app.serving = Loaded(lambda _: self.chunks), self.serving
            services = RunServices(
                self.transport(app),
                self.present,
                self.tell,
                self.chunks,
                # Eager orders are carried out one after the other: none is late for having waited for the others.
                broker_time=lambda: 1e12,
                poll=lambda: False,
                tidy=lambda: None,
                forgot=self.forgot,
            )
            run = Run(folder.config(), folder, services, report, clock)
            run.run()
            run.finish_run()


def simulate(
    config: RunConfig, participants: Mapping[str, Participant], path: Path, report: Report = lambda _: None
) -> RunFolder:
    """Carry out a run and return its folder, which lies in ``path`` beside those of the clients; see :func:`go_on`."""
    folder = RunFolder.create(path / "run", config)
    go_on(folder, participants, path / "clients", report)
    return folder


def go_on(
    folder: RunFolder, participants: Mapping[str, Participant], clients: Path, report: Report = lambda _: None
) -> None:
    """Carry out what a folder's run has left to do, with clients that are started anew; one at a time in a process.

    Args:
        folder: The run's.
        participants: The clients by id, in the order in which they connect.
        clients: A folder for those of the clients.
        report: Is told of what happens; what it raises ends the run.

    Raises:
        FederationError: If a client's data can't be had, the run can't go on, or none of its rounds could be closed.
    """
    config, announcements = folder.config(), dict[str, Announcement]()
    wanted = needs(load_selector(config.select))
    federation, models = InMemory(lambda: announcements), Models(are_shared=len(participants) > 1)
    for client_id, participant in participants.items():
        make_private(clients / client_id)
        with user_code("client_data()"):
            source = DataSource(Path(config.data) if config.data else None, participant.part)
            data = checked_client_data(participant.workload.client_data(source))
        client = Client(
            client_id=client_id,
            workload_name=config.workload,
            workload=participant.workload,
            data=data,
            blobs=federation.chunks,
            folder=clients / client_id,
            incarnation="first",
            allowed=Allowed(config.algorithm, config.compression),
            models=models,
            device=config.device,
        )
        federation.serving.add(client)
        announcements[client_id] = _announcement(client).telling(wanted)
    federation.carry_out(folder, report)


@dataclass(frozen=True, slots=True)
class InThisProcess:
    """Carries a run out here, with as many clients as it has, each with a part of the data.

    Attributes:
        by_value: What the run's code can't be imported from elsewhere.
    """

    by_value: ByValue

    def __call__(self, folder: RunFolder, look: Callable[[], None], stopping: Event) -> None:
        """Carry the run out.

        Raises:
            FederationError: If a client's data can't be had, the run can't go on, or none of its rounds could be
                closed.
        """

        def report(_: object) -> None:
            look()
            if stopping.is_set():
                raise _Stopped

        started, status, reason, config = time.monotonic(), "failed", "", folder.config()
        count = config.num_clients
        try:
            with self.by_value.importable(), _logged(folder, config):
                make = find_workload(config.workload)
                go_on(
                    folder,
                    {numbered_client_id(CLIENT, i, count): Participant(Part(i, count), make()) for i in range(count)},
                    folder.clients,
                    report,
                )
            status = "completed"
        except (_Stopped, KeyboardInterrupt) as stopped:
            status, reason = "interrupted", type(stopped).__name__
            if isinstance(stopped, KeyboardInterrupt):
                raise
        except FederationError as error:
            reason = str(error)
            raise
        finally:
            folder.save_summary(summarise(config, folder, status, reason, time.monotonic() - started))


@contextmanager
def _logged(folder: RunFolder, config: RunConfig) -> Iterator[None]:
    """Log what clients say where those of processes would."""
    client_ids = [numbered_client_id(CLIENT, index, config.num_clients) for index in range(config.num_clients)]
    handlers = [PrivateLog(folder.path / name) for name in {log_of(config, each) for each in client_ids}]
    for handler in handlers:
        handler.addFilter(make_readable)
        logging.getLogger("worker").addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logging.getLogger("worker").removeHandler(handler)
            handler.close()


class _Stopped(BaseException):
    """Raised where a run that was stopped goes on."""


def _announcement(client: Client) -> Announcement:
    return Announcement(
        protocol=PROTOCOL,
        client_id=client.client_id,
        incarnation=client.incarnation,
        workload=client.workload_name,
        num_examples=client.data.num_train,
        labels=client.data.labels,
        hardware=Hardware(num_cpus=1, memory_bytes=2**30),
        holds_out=client.data.test is not None,
        num_held_out=client.data.num_test or 0,
    )


@cache
def _app() -> FederationApp:
    app = make_app("eager", IN_MEMORY, include=(), task_always_eager=True)
    app.finalize()
    return app
