"""Supervision of the orchestrator's child processes: restart a process that ends too early, or raise its error."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from orchestrator.config import RunConfig
from orchestrator.processes import workers
from orchestrator.processes.processes import Process, Processes
from orchestrator.store.run_folder import RunFolder
from tasks.errors import ConfigurationError, RunFailedError

logger = logging.getLogger(__name__)

MAX_RESTARTS = 5


class Supervisor:
    """Starts a run's workers and keeps them running.

    Args:
        processes: Starts the workers' processes.
        config: The run's configuration.
        folder: The run's folder, for the logs.
        url: The broker's URL.
    """

    def __init__(self, processes: Processes, config: RunConfig, folder: RunFolder, url: str) -> None:
        self._processes = processes
        self._config = config
        self._folder = folder
        self._url = url
        self._started: dict[str, Process] = {}
        self._num_restarts: dict[str, int] = {}

    def start_own_worker(self) -> None:
        """Start the orchestrator's own worker."""
        self._start(workers.own_worker(self._config, self._folder, self._url))

    def start_clients(self, processes: Iterable[Process]) -> None:
        """Start the local clients' workers."""
        for process in processes:
            self._start(process)

    def poll(self) -> bool:
        """Restart workers that have ended; return whether the orchestrator's own worker was one of them.

        Raises:
            ConfigurationError: If a worker found its settings wrong, or couldn't load a user's code.
            RunFailedError: If a user's code failed at a worker's start, the embedded server ended, or a worker ended
                more than ``MAX_RESTARTS`` times.
        """
        own_worker_ended = False
        for name, code in self._processes.ended().items():
            process = self._started.get(name)
            if process is None:
                raise RunFailedError(f"the embedded server ended with code {code}: see {self._folder.logs}")
            if code == 0 and workers.is_client(name):
                continue
            self._restart(process, code)
            own_worker_ended |= not workers.is_client(name)
        return own_worker_ended

    def _restart(self, process: Process, code: int) -> None:
        if told := workers.told(process, code):
            is_wrong = code == ConfigurationError.exit_code
            raise (ConfigurationError if is_wrong else RunFailedError)(told)
        num_restarts = self._num_restarts.get(process.name, 0)
        if num_restarts >= MAX_RESTARTS:
            raise RunFailedError(
                f"{process.name} ended {num_restarts + 1} times, last with code {code}: see {process.log}"
            )
        self._num_restarts[process.name] = num_restarts + 1
        logger.warning("%s ended with code %d and is started anew: see %s", process.name, code, process.log)
        self._start(process)

    def _start(self, process: Process) -> None:
        self._started[process.name] = process
        self._processes.start(process)
