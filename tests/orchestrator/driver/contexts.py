"""A run's context in memory: clients that are announced, and tasks that answer their orders at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from celeriac.algorithms import load_algorithm
from orchestrator.clients.manager import ClientManager
from orchestrator.driver.collector import Collector
from orchestrator.driver.context import RunContext
from orchestrator.policies import load_policy
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.transport import Lost, RunServices
from tasks import arrays
from tasks.blobs.chunks import MemoryChunks
from tasks.broker.app import make_app
from tasks.messages import Response, encode
from tasks.names import order_task
from tests.support import MemoryRegistry, announcement, run_config

MODEL = {"point": np.arange(3, dtype=np.float32)}


@dataclass
class Clients:
    """Clients that are there, the store that they read, and the orders that they were given, as they came."""

    client_ids: Iterable[str]
    chunks: MemoryChunks = field(default_factory=MemoryChunks)
    orders: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._app = make_app("clients", "memory://", include=(), task_always_eager=True)
        self._app.conf.update(result_backend="cache+memory://")

    def answer(self, kind: str, respond: Callable[[dict[str, Any]], Response]) -> None:
        """Have orders of a kind answered by a function."""

        def carry_out(order: dict[str, Any]) -> dict[str, Any]:
            self.orders.append(order)
            return encode(respond(order))

        self._app.task(name=order_task(kind), shared=False)(carry_out)

    def context(self, path: Path, **changes: Any) -> RunContext:
        """The context of a run of these clients, whose model after each of its rounds is the same."""
        config = run_config(**changes)
        folder = RunFolder.create(path / "run", config)
        for number in range(config.rounds + 1):
            arrays.write_file(folder.checkpoint(number), MODEL)
        registry = MemoryRegistry()
        for client_id in self.client_ids:
            registry.announce(announcement(client_id, f"of-{client_id}"))
        services = RunServices(
            transport=EagerTransport(self._app),
            present=registry.present,
            tell=registry.say_passed_over,
            blobs=self.chunks,
            broker_time=lambda: 0.0,
            poll=lambda: False,
            tidy=lambda: None,
        )
        manager = ClientManager(registry.present, lambda: 0.0)
        manager.refresh()
        return RunContext(
            config=config,
            folder=folder,
            services=services,
            manager=manager,
            collector=Collector(services, manager, lambda: Lost.NOTHING),
            report=lambda _: None,
            algorithm=load_algorithm("fedavg"),
            settings={},
            policy=load_policy(config.policy, config),
        )
