"""Flower, in the three ways in which it can be run on one machine; its programs are in ``benchmarks/flower``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import distributions
from pathlib import Path

from benchmarks.contender import Case, DidNotCompleteError, Limit, Outcome
from benchmarks.contenders.programs import ROOT, Programs, free_port, listens, programs
from benchmarks.flower.rounds import VARIABLE, Task
from benchmarks.sampling import Sampler
from tasks.cores import num_cores

VENV = ROOT / ".venv-flower"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # where Ray keeps its objects
ROLES = (
    ("flower.legacy server", "orchestrator"),
    ("flower.legacy client", "clients"),
    ("flower.simulation", "orchestrator"),
    ("flower-supernode", "clients"),
    ("flwr-clientapp", "clients"),
    ("flower-superlink", "broker"),
    ("flwr-serverapp", "orchestrator"),
    ("ray::", "clients"),
    ("default_worker.py", "clients"),
)
"""Part of a process's command line -> its role. The superlink keeps what is on its way, as a broker does."""
APP = """\
[project]
name = "benchmark"
version = "1.0.0"
description = "Rounds whose training is next to nothing"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "benchmark"

[tool.flwr.app.components]
serverapp = "app:server_app"
clientapp = "app:client_app"
"""
CONNECTION = """\
[superlink]
default = "local"

[superlink.local]
address = "{address}"
insecure = true
"""


def version() -> str | None:
    """Return the version of Flower that is installed in its virtual environment, or None."""
    path = [str(folder) for folder in VENV.glob("lib/python*/site-packages")]
    return next((found.version for found in distributions(name="flwr", path=path)), None)


@dataclass(frozen=True, slots=True)
class Launch:
    """What is needed to start Flower's programs: where, for what, with which environment, and within which limit."""

    started: Programs
    case: Case
    folder: Path
    environment: Mapping[str, str]
    limit: Limit

    def start(self, name: str, program: str, *arguments: str) -> None:
        """Start a program of Flower's virtual environment."""
        self.started.start(name, str(VENV / "bin" / program), *arguments, **self.environment)


@dataclass(frozen=True, slots=True)
class Flower:
    """One way to run Flower.

    Attributes:
        start: Starts its programs.
        in_ray: Whether what it shares lies in Ray's shared memory, and Ray is started within the first round, so that
            there is no idle before.
    """

    start: Callable[[Launch], None]
    in_ray: bool = False

    def run(self, case: Case, num_rounds: int, folder: Path, limit: Limit) -> Outcome:
        """Carry out the rounds."""
        result = folder / "result.json"
        task = Task(case.num_clients, case.megabytes, num_rounds, str(result))
        environment = {
            VARIABLE: json.dumps(asdict(task)),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",  # some of its programs start others by their names
            "FLWR_HOME": str(folder / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with programs(folder) as started, Sampler(ROLES, shared=SHARED_MEMORY if self.in_ray else None) as sampler:
            self.start(Launch(started, case, folder, environment, limit))
            found = started.wait_for_json(result, limit)
        if found["updates"] != [case.num_clients] * num_rounds:
            raise DidNotCompleteError(f"the rounds had {found['updates']} updates")
        if not found["right"]:
            raise DidNotCompleteError("the final model is wrong")
        outcome = sampler.outcome(found["marks"], found["marks"][-1], num_rounds)
        return replace(outcome, idle_mb={}) if self.in_ray else outcome


def start_legacy(launch: Launch) -> None:
    """Start a server, and a process for each client."""
    port = free_port()
    program, address = ("python", "-m", "benchmarks.flower.legacy"), f"127.0.0.1:{port}"
    launch.start("server", *program, "server", address)
    launch.started.wait_until(lambda: listens(port), launch.limit)
    for index in range(launch.case.num_clients):
        launch.start(f"client-{index}", *program, "client", address, str(index))


def start_superlink(launch: Launch) -> None:
    """Start a superlink and a supernode for each client, and submit the app."""
    app, home = launch.folder / "app", launch.folder / "home"
    app.mkdir()
    home.mkdir()
    (app / "pyproject.toml").write_text(APP)
    shutil.copy(ROOT / "benchmarks" / "flower" / "app.py", app)
    port = free_port()
    address, at = f"127.0.0.1:{port}", ("--insecure", "--host", "127.0.0.1", "--port")
    (home / "config.toml").write_text(CONNECTION.format(address=address))
    launch.start("superlink", "flower-superlink", *at, str(port), "--disable-runtime-dependency-installation")
    launch.started.wait_until(lambda: listens(port), launch.limit)
    for index in range(launch.case.num_clients):
        config = f"partition-id={index} num-partitions={launch.case.num_clients}"
        options = ("--superlink", address, "--node-config", config)
        launch.start(f"supernode-{index}", "flower-supernode", *at, str(free_port()), *options)
    launch.start("run", "flwr", "run", str(app), "local", "--stream")


def start_simulation(launch: Launch) -> None:
    """Start a simulation with an actor for each core."""
    folder = str(launch.started.folder / "ray")
    launch.start("simulation", "python", "-m", "benchmarks.flower.simulation", str(num_cores()), folder)
