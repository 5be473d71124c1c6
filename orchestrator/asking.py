"""Asking clients something without a run: connect, wait for them, and send them orders of any kind.

Nobody trains, there is no model, and in the end nobody is told to leave. Otherwise it is as in a run: others know
that it is on, who is there is looked up, and so is what becomes of an order whose client vanishes.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from celeriac.algorithms import load_algorithm
from orchestrator.clients.manager import ClientManager
from orchestrator.config import RunConfig
from orchestrator.driver.collector import Collector
from orchestrator.driver.context import RunContext
from orchestrator.driver.orders import make_order, time_limits
from orchestrator.policies import load_policy
from orchestrator.processes.connect import connect_run
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.transport import TICK_S, Lost, RunServices
from orchestrator.trust.reaching import reach
from tasks.errors import ConfigurationError
from tasks.messages import Order, Response
from tasks.plugins import check_spec
from tasks.spec import WorkloadSpec
from tasks.workload import BUILT_IN


class Clients:
    """The clients of a federation, to be asked.

    Args:
        config: Says which workload they have, and how long to wait for them.
        folder: A folder for logs.
        services: How they are reached.
    """

    def __init__(self, config: RunConfig, folder: RunFolder, services: RunServices) -> None:
        self._manager = ClientManager(services.present, workload=config.workload, tell=services.tell)
        self._context = RunContext(
            config=config,
            folder=folder,
            services=services,
            manager=self._manager,
            collector=Collector(services, self._manager, self._tick),
            report=lambda _: None,
            algorithm=load_algorithm(config.algorithm),
            settings={},
            policy=load_policy(config.policy, config),
        )
        self._num_asked = 0

    def wait(self) -> list[str]:
        """Wait for as many clients as there are to be; return the ids of all that are there.

        Raises:
            TooFewClientsError: If fewer have come in time.
        """
        config, transport = self._context.config, self._context.services.transport

        def pause(left_s: float) -> None:
            transport.collect([], min(left_s, TICK_S))
            self._tick()

        return sorted(
            client.client_id for client in self._manager.wait_for(config.num_clients, config.wait_timeout_s, pause)
        )

    def ask(self, kind: type[Order], **rest: Any) -> list[Response]:
        """Send each connected client an order of a kind; return what answers, or stands in for an answer, by client id.

        Args:
            kind: Class of the orders.
            rest: What an order of this kind says beside what every order says.
        """
        self._num_asked += 1
        client_ids = self.wait()
        limits = time_limits(self._context, self._context.config.timeout_s, client_ids)
        orders = [
            make_order(self._context, kind, client_id, self._num_asked, limits, **rest) for client_id in client_ids
        ]
        return self._context.collector.ask(orders, limits.total_s)

    def _tick(self) -> Lost:
        self._context.services.poll()
        self._manager.refresh()
        return Lost.ALL if self._context.services.forgot() else Lost.NOTHING


@contextmanager
def connect_clients(broker: str | None = None, **settings: object) -> Iterator[Clients]:
    """Connect to the clients of a broker, or start a server and clients on this machine.

    Args:
        broker: The broker's URL, or the operator's folder; None starts a server and local clients.
        settings: Fields of :class:`RunConfig`: ``num_clients``, ``workload``, ``data``, ``wait_timeout_s``,
            ``timeout_s``.

    Raises:
        ConfigurationError: If a setting is wrong, or too many runs are on at the broker.
    """
    config = _config(local=broker is None, **settings)
    if broker is not None:
        reach(broker)
    path = Path(tempfile.mkdtemp(prefix="celeriac-ask-"))
    folder = RunFolder.create(path, config)
    try:
        with connect_run(config, folder, broker, has_jobs=False) as services:
            yield Clients(config, folder, services)
            services.tidy()
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _config(**settings: object) -> RunConfig:
    run_id = f"ask-{secrets.token_hex(4)}"
    try:
        config = RunConfig.model_validate({"run_id": run_id, **settings})
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{name}: " for name in first["loc"])
        raise ConfigurationError(f"{where}{first['msg'].removeprefix('Value error, ')}") from None
    spec = WorkloadSpec.parse(config.workload)
    check_spec("workload", spec.name, BUILT_IN)
    return config.model_copy(update={"workload": str(spec)})
