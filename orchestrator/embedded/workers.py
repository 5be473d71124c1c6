"""The workers that the orchestrator starts itself: its own, and in the embedded default the clients'."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from orchestrator.config import RunConfig
from orchestrator.embedded.processes import Process
from orchestrator.run_folder import RunFolder
from tasks.broker import URL_VARIABLE
from tasks.cores import num_cores
from tasks.errors import ConfigurationError, FederationError
from tasks.names import numbered_client_id
from tasks.own_packages import ROOT
from tasks.stores import FOLDER_VARIABLE
from tasks.workload import Part

MOST_OWN_PROCESSES = 4
"""Processes that the orchestrator's own worker has at the most: updates are taken in side by side."""
CLIENT = "client"
"""What the ids of local clients begin with."""
_ERROR = "error: "
"""What a worker's line begins with that says why it ends."""
SHARED_WORKER = "clients"
"""Name of the worker that serves all local clients, where there are more of them than cores."""


def own_worker(config: RunConfig, folder: RunFolder, url: str) -> Process:
    """Return the orchestrator's own worker.

    It is killed without notice: all it does can be done again, and while it ends it would still take tasks, those of
    the orchestrator's next start among them.
    """
    environment = {
        URL_VARIABLE: url,
        FOLDER_VARIABLE: blob_folder(config, folder),
        "ORCHESTRATOR_PRELOAD": config.workload,
        "PYTHONPATH": _paths(),
    }
    return Process(
        name="worker",
        command=_celery("orchestrator", "orchestrator", "--concurrency", str(min(num_cores(), MOST_OWN_PROCESSES))),
        environment=environment,
        log=folder.logs / "worker.log",
        grace_s=0.0,
    )


def blob_folder(config: RunConfig, folder: RunFolder) -> str:
    """Return the folder of blobs where all processes are on this machine, else nothing: they go through the broker."""
    return str(folder.blobs.resolve()) if config.local else ""


def client_workers(config: RunConfig, folder: RunFolder, url: str) -> list[Process]:
    """Return the workers of the local clients: one each, or one for all where there are more clients than cores."""
    count = config.num_clients
    if count > num_cores():
        return [_client_worker(config, folder, url, SHARED_WORKER, {"CLIENT_ID": CLIENT, "CLIENT_COUNT": str(count)})]
    client_ids = [numbered_client_id(CLIENT, index, count) for index in range(count)]
    return [
        _client_worker(config, folder, url, client_id, {"CLIENT_ID": client_id, "CLIENT_PART": str(Part(index, count))})
        for index, client_id in enumerate(client_ids)
    ]


def _client_worker(config: RunConfig, folder: RunFolder, url: str, name: str, who: Mapping[str, str]) -> Process:
    environment = {
        URL_VARIABLE: url,
        FOLDER_VARIABLE: blob_folder(config, folder),
        "CLIENT_PART": "",
        "CLIENT_COUNT": "",
        "CLIENT_CONCURRENCY": "",
        **who,
        "CLIENT_WORKLOAD": config.workload,
        "CLIENT_ALGORITHM": config.algorithm,
        "CLIENT_COMPRESSION": config.compression,
        "CLIENT_DATA": config.data or "",
        "CLIENT_STATE": str(folder.path.resolve() / "clients"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(_threads(config.num_clients)),
        "PYTHONPATH": _paths(),
    }
    return Process(name=name, command=_celery("worker", name), environment=environment, log=folder.logs / f"{name}.log")


def is_client(name: str) -> bool:
    """Say whether a process of this name is a local client's, or that of all."""
    return name == SHARED_WORKER or name.startswith(f"{CLIENT}-")


def _paths() -> str:
    """Return where the workers find what is found here: the folder one stands in last, whatever it has a file of.

    They put it first when Celery has found us (:func:`tasks.loading.add_current_folder`); it is there at all so that
    Celery doesn't put it first itself.
    """
    here = str(Path.cwd())
    others = [path for path in sys.path if path and path != here]
    return os.pathsep.join(dict.fromkeys([*others, str(ROOT), here]))


def _celery(app: str, node: str, *options: str) -> list[str]:
    return [
        sys.executable, "-P", "-m", "celery", "--app", app, "worker",
        "--hostname", f"{node}@%h", "--loglevel", "INFO", *options,
    ]  # fmt: skip


def _threads(num_clients: int) -> int:
    """Return how many threads each of the local clients may use, so that together they fill the machine."""
    return max(1, num_cores() // num_clients)


def told(process: Process, code: int) -> str:
    """Return what a worker said was wrong as it ended, and the log that has all of it; empty if it said nothing.

    One that said so (``error: …``) would say the same if it were started anew.
    """
    line = last_line(process.log)
    if code not in (FederationError.exit_code, ConfigurationError.exit_code) or not line.startswith(_ERROR):
        return ""
    return f"{process.name}: {line.removeprefix(_ERROR)}; see logs/{process.log.name}"


def log_of(config: RunConfig, client_id: str) -> str:
    """Return where a client's log is."""
    if not config.local:
        return f"the log of the worker of {client_id}"
    return f"logs/{SHARED_WORKER if config.num_clients > num_cores() else client_id}.log"


def last_line(path: Path) -> str:
    """Return the last line of a log that says something."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line), "")
