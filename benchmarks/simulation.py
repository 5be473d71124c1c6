"""A federation in one process: the real orders, checks, aggregation and checkpoints, through Celery's eager mode.

It's what experiments need that run many federations side by side: no server, no worker processes, one core each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import orchestrator.tasks  # noqa: F401  (the app of this process has the tasks of both sides)
import worker.tasks  # noqa: F401
from orchestrator.config import RunConfig
from orchestrator.driver.run import Run
from orchestrator.jobs.job import Loaded
from orchestrator.observers.events import Report
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.transport import RunServices
from tasks.announcement import Announcement, Hardware
from tasks.blobs.chunks import MemoryChunks
from tasks.broker.app import FederationApp, make_app
from tasks.workload import DataSource, Part, Workload
from worker.client import Client
from worker.models import Models
from worker.serving import Serving
from worker.settings import Allowed

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Participant:
    """A client: its part of the data, and the workload that it trains, or says that it trains."""

    part: Part
    workload: Workload


def simulate(
    config: RunConfig, participants: Mapping[str, Participant], path: Path, report: Report = lambda _: None
) -> RunFolder:
    """Carry out a run and return its folder; one at a time in a process.

    Args:
        config: The run's.
        participants: The clients by id, in the order in which they connect.
        path: A folder for the run's folder and those of the clients.
        report: Is told of what happens; what it raises ends the run.
    """
    folder = RunFolder.create(path / "run", config)
    go_on(folder, participants, path, report)
    return folder


def go_on(
    folder: RunFolder, participants: Mapping[str, Participant], path: Path, report: Report = lambda _: None
) -> None:
    """Carry out what a folder's run has left to do, with clients that are started anew; see :func:`simulate`."""
    config = folder.config()
    announcements, chunks = dict[str, Announcement](), MemoryChunks()
    app, serving, models = _app(), Serving(), Models(are_shared=len(participants) > 1)
    app.loaded, app.serving = Loaded(lambda _: chunks), serving
    for client_id, participant in participants.items():
        client = _client(client_id, participant, config, chunks, models, path)
        serving.add(client)
        announcements[client_id] = _announcement(client)
    services = RunServices(
        EagerTransport(app),
        present=lambda: announcements,
        tell=lambda _: None,
        blobs=chunks,
        broker_time=lambda: 1e12,
        poll=lambda: False,
        tidy=lambda: None,
    )
    Run(config, folder, services, report).run()


def _client(
    client_id: str, participant: Participant, config: RunConfig, chunks: MemoryChunks, models: Models, path: Path
) -> Client:
    source = DataSource(Path(config.data) if config.data else None, participant.part)
    return Client(
        client_id=client_id,
        workload_name=config.workload,
        workload=participant.workload,
        data=participant.workload.client_data(source),
        blobs=chunks,
        folder=path / "clients" / client_id,
        incarnation="first",
        allowed=Allowed(config.algorithm, config.compression),
        models=models,
    )


def _announcement(client: Client) -> Announcement:
    return Announcement(
        client_id=client.client_id,
        incarnation=client.incarnation,
        workload=client.workload_name,
        num_examples=client.data.num_train,
        labels=client.data.labels,
        hardware=Hardware(num_cpus=1, memory_bytes=2**30),
    )


@cache
def _app() -> FederationApp:
    app = make_app("simulation", "memory://", include=(), task_always_eager=True)
    app.conf.update(result_backend="cache+memory://")
    app.finalize()
    return app


def side_by_side(
    function: Callable[[T], R], arguments: Iterable[T], processes: int, per_process: int | None = None
) -> Iterator[tuple[T, R]]:
    """Call a function with each argument in processes that say nothing; yield arguments and results as they come.

    Args:
        function: What is called.
        arguments: Each of them once.
        processes: Calls at a time.
        per_process: Calls after which a process is replaced; None: never.
    """
    with ProcessPoolExecutor(
        processes, get_context("spawn"), logging.disable, (logging.WARNING,), max_tasks_per_child=per_process
    ) as pool:
        futures = {pool.submit(function, argument): argument for argument in arguments}
        for future in as_completed(futures):
            yield futures[future], future.result()
