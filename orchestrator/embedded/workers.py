"""The workers that the orchestrator starts itself: its own, and in the embedded default the clients'."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from orchestrator.config import RunConfig
from orchestrator.embedded.processes import Process
from orchestrator.run_folder import RunFolder
from tasks.broker import URL_VARIABLE
from tasks.workload import Part

_PATHS = os.pathsep.join(path for path in sys.path if path)
"""What is found here is found by the workers."""


def own_worker(config: RunConfig, folder: RunFolder, url: str) -> Process:
    """Return the orchestrator's own worker.

    It is killed without notice: all it does can be done again, and while it ends it would still take tasks, those of
    the orchestrator's next start among them.
    """
    environment = {URL_VARIABLE: url, "ORCHESTRATOR_PRELOAD": config.workload, "PYTHONPATH": _PATHS}
    return Process(
        name="worker",
        command=_celery("orchestrator", "orchestrator", "--concurrency", "1"),
        environment=environment,
        log=folder.logs / "worker.log",
        grace_s=0.0,
    )


def client_worker(config: RunConfig, folder: RunFolder, url: str, index: int) -> Process:
    """Return the worker of local client ``index`` (from 0) of ``config.num_clients``."""
    client_id = local_client_id(index, config.num_clients)
    environment = {
        URL_VARIABLE: url,
        "CLIENT_ID": client_id,
        "CLIENT_PART": str(Part(index, config.num_clients)),
        "CLIENT_WORKLOAD": config.workload,
        "CLIENT_ALGORITHM": config.algorithm,
        "CLIENT_DATA": config.data or "",
        "CLIENT_STATE": str(folder.path.resolve() / "clients"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(_threads(config.num_clients)),
        "PYTHONPATH": _PATHS,
    }
    return Process(
        name=client_id,
        command=_celery("worker", client_id),
        environment=environment,
        log=folder.logs / f"{client_id}.log",
    )


def local_client_id(index: int, count: int) -> str:
    """Return the id of a local client; ids sort as their numbers do."""
    return f"client-{index + 1:0{len(str(count))}d}"


def is_client(name: str) -> bool:
    """Say whether a process of this name is a local client's."""
    return name.startswith("client-")


def _celery(app: str, node: str, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "celery", "--app", app, "worker",
        "--hostname", f"{node}@%h", "--loglevel", "INFO", *options,
    ]  # fmt: skip


def _threads(num_clients: int) -> int:
    """Return how many threads each of the local clients may use, so that together they fill the machine."""
    return max(1, (os.cpu_count() or 1) // num_clients)


def last_line(path: Path) -> str:
    """Return the last line of a log that says something."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line), "")
