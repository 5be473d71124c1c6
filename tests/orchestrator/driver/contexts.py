"""A run's context in memory: clients that are announced, and answer their orders at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
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
from orchestrator.transport.sending import Call
from orchestrator.transport.transport import Lost, RunServices
from tasks import arrays
from tasks.blobs.chunks import MemoryChunks
from tasks.broker.app import make_app
from tasks.messages import Response, encode
from tasks.names import order_task
from tests.support import MemoryRegistry, announcement, run_config

Answer = Callable[[dict[str, Any]], Response]
MODEL = {"point": np.arange(3, dtype=np.float32)}


class Answered(EagerTransport):
    """Has orders answered as they are sent."""

    def __init__(self, clients: Clients) -> None:
        super().__init__(make_app("answered", "memory://", include=(), task_always_eager=True))
        self._clients = clients
        self._stored: dict[str, bytes | str] = {}

    def publish(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self._stored[call.task_id] = self._clients.carry_out(call.task, json.loads(json.dumps(call.args[0])))

    def collect(self, task_ids: Collection[str], timeout_s: float, max_bytes: int = 0) -> dict[str, bytes | str]:
        return {task_id: self._stored[task_id] for task_id in task_ids if task_id in self._stored}


@dataclass
class Clients:
    """Clients that are there, the store that they read, and the orders that they were given, as they came."""

    client_ids: Iterable[str]
    chunks: MemoryChunks = field(default_factory=MemoryChunks)
    orders: list[dict[str, Any]] = field(default_factory=list)

    answers: dict[str, Answer] = field(default_factory=dict)
    """The name of an order's task -> what answers it."""

    def answer(self, kind: str, respond: Answer) -> None:
        """Have orders of a kind answered by a function."""
        self.answers[order_task(kind)] = respond

    def carry_out(self, task: str, order: dict[str, Any]) -> bytes:
        """Return what is stored of an order that was carried out."""
        self.orders.append(order)
        return json.dumps({"status": "SUCCESS", "result": encode(self.answers[task](order))}).encode()

    def context(self, path: Path, **changes: Any) -> RunContext:
        """The context of a run of these clients, whose model after each of its rounds is the same."""
        config = run_config(**changes)
        folder = RunFolder.create(path / "run", config)
        for number in range(config.rounds + 1):
            arrays.write_file(folder.checkpoint(number), MODEL)
        registry = MemoryRegistry()
        for client_id in self.client_ids:
            registry.announce(announcement(client_id, f"of-{client_id}", num_held_out=30))
        services = RunServices(
            transport=Answered(self),
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
