"""A federation in one process: the real orders, checks, aggregation and checkpoints, through Celery's eager mode.

It's what experiments need that run many federations side by side: no server, no worker processes, one core each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from celery import Celery

import orchestrator.tasks
import worker.tasks  # noqa: F401  (the app of this process has the tasks of both sides)
from orchestrator.config import RunConfig
from orchestrator.couriers import EagerCourier
from orchestrator.events import Event, RoundClosed
from orchestrator.records import RoundRecord
from orchestrator.run import Run
from orchestrator.run_folder import RunFolder
from orchestrator.wire import Wire
from tasks.app import make_app
from tasks.blobs import MemoryChunks
from tasks.presence import Announcement, Hardware, MemoryRegistry
from tasks.workload import DataSource, Part, Workload
from worker.client import Client, add_client, forget_clients


class _StoppedError(Exception):
    """Raised to end a run that has done what it was for."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """A federation whose clients have a part of the workload's data each.

    Attributes:
        config: The run's; ``config.num_clients`` clients take part.
        workload: What they train, under the name that the config gives it.
        is_enough: Whether the run may stop after a round.
    """

    config: RunConfig
    workload: Workload
    is_enough: Callable[[RoundRecord], bool] = lambda _: False

    def run(self) -> list[RoundRecord]:
        """Carry out the run in a temporary folder, and return its history."""
        with tempfile.TemporaryDirectory() as path:
            folder = RunFolder.create(Path(path) / "run", self.config)
            registry, chunks = MemoryRegistry(), MemoryChunks()
            forget_clients()
            for index in range(self.config.num_clients):
                self._join(index, registry, chunks, Path(path) / "clients")
            orchestrator.tasks.use_chunks(chunks)
            wire = Wire(
                EagerCourier(_app()), registry, chunks, broker_time=lambda: 1e12, tend=lambda: False, tidy=lambda: None
            )
            try:
                Run(folder.config(), folder, wire, self._stop_when_enough(folder)).run()
            except _StoppedError:
                pass
            finally:
                forget_clients()
            return folder.history()

    def _stop_when_enough(self, folder: RunFolder) -> Callable[[Event], None]:
        def report(event: Event) -> None:
            if isinstance(event, RoundClosed):
                folder.checkpoint(event.record.round_number - 1).unlink()
                if self.is_enough(event.record):
                    raise _StoppedError

        return report

    def _join(self, index: int, registry: MemoryRegistry, chunks: MemoryChunks, folder: Path) -> None:
        name, config = f"client-{index + 1:04d}", self.config
        source = DataSource(Path(config.data) if config.data else None, Part(index, config.num_clients))
        data = self.workload.client_data(source)
        add_client(
            Client(name, config.workload, self.workload, data, chunks, folder / name, "first", leave=lambda _: None)
        )
        registry.announce(
            Announcement(
                client_id=name,
                incarnation="first",
                workload=config.workload,
                num_examples=data.num_train,
                labels=data.labels,
                hardware=Hardware(num_cpus=1, memory_bytes=2**30),
            )
        )


@cache
def _app() -> Celery:
    app = make_app("simulation", "memory://", include=(), task_always_eager=True)
    app.conf.update(result_backend="cache+memory://")
    app.finalize()
    return app
