"""The workers that the orchestrator starts: its own, and in the embedded default the clients'."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from orchestrator.config import RunConfig
from orchestrator.processes.processes import Process
from orchestrator.store.run_folder import RunFolder
from orchestrator.store.updates import blobs_url
from orchestrator.trust.authority import Authority
from orchestrator.trust.here import enrol_here
from tasks.broker.probe import PROBED_VARIABLE
from tasks.broker.url import URL_VARIABLE
from tasks.cores import num_cores
from tasks.errors import ConfigurationError, FederationError
from tasks.logs import FORMAT_VARIABLE
from tasks.names import RUN_VARIABLE, numbered_client_id
from tasks.own_packages import ROOT
from tasks.scope import RunScope
from tasks.workload import Part

OWN_PROCESSES = 2, 4
"""Processes of the orchestrator's own worker, at least and at most: one evaluates while others ingest and close."""
CLIENT = "client"
"""Prefix of the local clients' ids."""
NO_POLICY = "none"
"""The setting of a client that refuses nothing, as those do that a run starts itself."""
_PROGRAM = Path(__file__).with_name("worker_program.py")
_ERROR = "error: "
"""Prefix of the line in which a worker says why it ends."""
SHARED_WORKER = "clients"
"""Name of the worker for all local clients, if there are more clients than cores."""


def own_worker(config: RunConfig, folder: RunFolder, url: str) -> Process:
    """Return the orchestrator's own worker.

    It ends by being killed at once: its work can be redone, and a worker that shuts down slowly would still take tasks,
    even tasks of the orchestrator's next start.
    """
    least, most = OWN_PROCESSES
    environment = {
        URL_VARIABLE: url,
        "ORCHESTRATOR_PRELOAD": config.workload,
        PROBED_VARIABLE: "1",
        RUN_VARIABLE: config.run_id,
        FORMAT_VARIABLE: config.log_format,
        "PYTHONPATH": _paths(),
    }
    return Process(
        name="worker",
        command=_worker(
            "orchestrator", RunScope(config.run_id).queue, "--concurrency", str(max(least, min(num_cores(), most)))
        ),
        environment=environment,
        log=folder.logs / "jobs.log",
        grace_s=0.0,
    )


def client_workers(config: RunConfig, folder: RunFolder, authority: Authority) -> list[Process]:
    """Enrol the local clients, and return their workers: one each, or one for all if there are more than cores."""
    count = config.num_clients
    if count > num_cores():
        who = {"CLIENT_ENROLMENT": str(enrol_here(authority, CLIENT, count))}
        return [_client_worker(config, folder, SHARED_WORKER, who)]
    workers = []
    for index in range(count):
        client_id = numbered_client_id(CLIENT, index, count)
        who = {"CLIENT_ENROLMENT": str(enrol_here(authority, client_id, None)), "CLIENT_PART": str(Part(index, count))}
        workers.append(_client_worker(config, folder, client_id, who))
    return workers


def _client_worker(config: RunConfig, folder: RunFolder, name: str, who: Mapping[str, str]) -> Process:
    environment = {
        URL_VARIABLE: "",
        "CLIENT_BLOBS": blobs_url(config, folder, ""),
        "CLIENT_ID": "",
        "CLIENT_PART": "",
        "CLIENT_COUNT": "",
        "CLIENT_CONCURRENCY": "",
        "CLIENT_START_METHOD": "solo" if config.pool == "solo" else "",
        **who,
        "CLIENT_WORKLOAD": config.workload,
        "CLIENT_ALGORITHM": config.algorithm,
        "CLIENT_COMPRESSION": config.compression,
        "CLIENT_DATA": config.data or "",
        "CLIENT_DEVICE": config.device,
        "CLIENT_STAY": "no",
        "CLIENT_TELLS_ERRORS": "yes",
        "CLIENT_POLICY": os.environ.get("CLIENT_POLICY") or NO_POLICY,
        "CLIENT_STATE": str(folder.clients),
        FORMAT_VARIABLE: config.log_format,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(_threads(config.num_clients)),
        "PYTHONPATH": _paths(),
    }
    return Process(name=name, command=_worker("worker", name), environment=environment, log=folder.logs / f"{name}.log")


def is_client(name: str) -> bool:
    """Say whether a process of this name serves local clients, one or all of them."""
    return name == SHARED_WORKER or name.startswith(f"{CLIENT}-")


def _paths() -> str:
    """Return the workers' ``PYTHONPATH``: this process's module folders, and the current folder last.

    Last, so that no file in the current folder hides our packages while Celery looks for them; later the workers move
    it to the front (:func:`tasks.plugins.add_current_folder`). If it were missing, Celery would put it first.
    """
    here = str(Path.cwd())
    others = [path for path in sys.path if path and path != here]
    return os.pathsep.join(dict.fromkeys([*others, str(ROOT), here]))


def _worker(app: str, node: str, *options: str) -> list[str]:
    return [sys.executable, "-P", str(_PROGRAM), "--app", app, "--hostname", f"{node}@%h", *options]


def _threads(num_clients: int) -> int:
    """Return the number of threads for each local client, so that together they use all cores."""
    return max(1, num_cores() // num_clients)


def told(process: Process, code: int) -> str:
    """Return the error that ended a worker (``error: …``), and its log's name; empty if it reported none.

    Restarting a worker that reported an error is no use: it would end in the same way.
    """
    line = last_line(process.log)
    if code not in (FederationError.exit_code, ConfigurationError.exit_code) or not line.startswith(_ERROR):
        return ""
    return f"{process.name}: {line.removeprefix(_ERROR)}; see logs/{process.log.name}"


def log_of(config: RunConfig, client_id: str) -> str:
    """Return where to find a client's log, in words."""
    if not config.local:
        return f"the log of the worker of {client_id}"
    return f"logs/{SHARED_WORKER if config.num_clients > num_cores() else client_id}.log"


def last_line(path: Path) -> str:
    """Return the last line of a log that isn't blank; empty if there is none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line), "")
