"""What the parts of a run share, and how they read what its own workers return."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from celeriac.algorithms import Algorithm, Settings, train_plainly
from celeriac.compressors import Compressor
from celeriac.selectors import ConnectedClient
from orchestrator.clients.manager import ClientManager
from orchestrator.config import RunConfig
from orchestrator.driver.collector import OWN_WORK_TIMEOUT_S, Collector
from orchestrator.observers.events import JobDone, Report
from orchestrator.policies import RoundPolicy
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.responses import stored_document
from orchestrator.transport.task_failures import TaskFailure
from orchestrator.transport.transport import RunServices
from tasks.errors import ConfigurationError, MessageError, RunFailedError
from tasks.run_config import RunSettings
from tasks.scope import RunScope

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RunContext:
    """A run's configuration, folder, clients, and ways to them and to its own workers."""

    config: RunConfig
    folder: RunFolder
    services: RunServices
    manager: ClientManager
    collector: Collector
    report: Report
    algorithm: Algorithm
    settings: Settings
    policy: RoundPolicy
    compressor: Compressor | None = None
    clock: Callable[[], float] = time.monotonic
    fits: Callable[[ConnectedClient], bool] = lambda _: True
    """Whether a client may join a round that is open."""
    accepted: dict[str, str] = field(default_factory=dict)
    """The last update of each client that was accepted (``names.update_name``), by client id; kept up by the run."""
    prepared: RunSettings = field(default_factory=dict)
    """Settings that the workload made of the clients' statistics; kept up by the run."""
    known: set[str] = field(default_factory=set)
    """Clients that were in a cohort of the run; kept up by the run."""
    digests: dict[int, str] = field(default_factory=dict)
    """Digest of the last round's checkpoint, by the round's number; kept up by the run."""

    @property
    def scope(self) -> RunScope:
        """The names of what belongs to the run."""
        return RunScope(self.config.run_id)

    @property
    def algorithm_of_clients(self) -> str:
        """The algorithm whose part clients carry out: FedAvg's, where the run's own has no other."""
        is_plain = self.algorithm.local is train_plainly and self.algorithm.survey is None
        return "fedavg" if is_plain else self.config.algorithm

    def num_clients(self) -> int:
        """Return how many clients are known to the run: who was in a cohort or is connected, and ``--clients``."""
        connected = {client.client_id for client in self.manager.connected()}
        return max(self.config.num_clients, len(self.known | connected))


def own_result(raw: bytes | str | None, kind: type[T], what: str, report: Report = lambda _: None) -> T:
    """Return what a task of the orchestrator's own returned, and report how long it took.

    Args:
        raw: What is stored of it; None if it didn't end in time.
        kind: What it returns.
        what: What can't go on without it, for the message.
        report: Is told.

    Raises:
        ConfigurationError: If the task found the input wrong.
        RunFailedError: If it failed otherwise, or didn't end in time.
    """
    if raw is None:
        raise RunFailedError(f"{what}: the orchestrator's own worker didn't answer within {OWN_WORK_TIMEOUT_S:g} s")
    try:
        document = stored_document(raw)
    except MessageError as error:
        raise RunFailedError(f"{what}: {error}") from None
    result = document.get("result")
    if document.get("status") != "SUCCESS":
        failure = TaskFailure.of(document)
        why = f"a process of the orchestrator's own died{failure.how()}"
        gave_up = "the orchestrator's own worker gave it up"
        raise RunFailedError(f"{what}: {why if failure.process_died else gave_up}; see logs/jobs.log")
    if isinstance(result, dict) and "error" in result:
        if result.get("exit_code") == ConfigurationError.exit_code:
            raise ConfigurationError(str(result["error"]))
        raise RunFailedError(f"{what}: {result['error']}")
    try:
        if isinstance(result, dict) and "done" in result:
            report(JobDone.model_validate(result.pop("done")))
        return kind.model_validate(result)
    except ValidationError as error:
        raise RunFailedError(f"{what}: {error}") from None
