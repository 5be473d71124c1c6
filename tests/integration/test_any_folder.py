"""The commands work in a folder that has files of our packages' names, from a checkout and installed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

import celery
import numpy as np
import pytest
from redis import Redis

from tasks.own_packages import OWN_PACKAGES
from tests.integration import harness
from tests.integration.harness import Field, present, summary, url, wait_until

RUNPY = {"orchestrator"}
"""What Python itself looks for in the folder one stands in, before any code of ours runs."""
STUDY = """
import tasks.names
from pulled import Pulled

assert tasks.names.order_task("train")


class Mine(Pulled):
    pass
"""


def fill(folder: Path, *without: str) -> Path:
    """Put files of our packages' names into a folder, each of which raises when it is imported, and a workload."""
    folder.mkdir()
    for name in OWN_PACKAGES - set(without):
        (folder / f"{name}.py").write_text(f"raise RuntimeError('the {name}.py of the user was imported')\n")
    shutil.copy(harness.WORKLOADS / "pulled.py", folder)
    (folder / "my_study.py").write_text(STUDY)
    return folder


@pytest.fixture(params=["checkout", "installed"])
def python(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """A Python, and the environment in which it finds us: on the PYTHONPATH, or among its installed packages."""
    if request.param == "checkout":
        return sys.executable, {"PYTHONPATH": str(harness.ROOT)}
    venv.create(tmp_path / "venv", symlinks=True)
    [site] = (tmp_path / "venv").glob("lib/python*/site-packages")
    for name in OWN_PACKAGES:
        shutil.copytree(harness.ROOT / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    others = [str(Path(str(module.__file__)).parents[1]) for module in (celery, np)]
    (site / "others.pth").write_text("\n".join(others) + "\n")
    return str(tmp_path / "venv" / "bin" / "python"), {"PYTHONPATH": ""}


def test_a_run_in_a_folder_with_files_of_our_names(
    field: Field, tmp_path: Path, python: tuple[str, dict[str, str]]
) -> None:
    # Given a folder with a tasks.py, a worker.py and so on, and a workload that says ``import tasks`` and means ours
    folder = fill(tmp_path / "study", *RUNPY)
    program, environment = python

    # When a run is started there
    run = field.run("run", "--rounds 1", workload="my_study:Mine", cwd=folder, python=(program, "-m"), **environment)

    # Then its clients train
    run.succeeds()
    assert summary(folder / "run")["status"] == "completed"


@pytest.mark.usefixtures("counted")
def test_clients_in_a_folder_with_files_of_our_names(
    field: Field, tmp_path: Path, broker: Redis, python: tuple[str, dict[str, str]]
) -> None:
    # Given a folder with all these files but a worker.py, and one with that too
    program, environment = python
    folders = [fill(tmp_path / "without", "worker"), fill(tmp_path / "with")]
    commands = [((program, "-m"), ("celery", "-A", "worker", "worker")), ((program, "-P", "-m"), ("worker",))]

    # When a client is started in the one by Celery's command, and in the other by ours
    clients = [
        field.start(
            "client", *command, "-l", "INFO", cwd=folder, python=start, CELERY_BROKER_URL=url(broker),
            CLIENT_ID=f"client-{number}", CLIENT_PART=f"{number}/2", CLIENT_WORKLOAD="my_study:Mine",
            CLIENT_STATE=str(tmp_path / "state"), **environment,
        )
        for number, (folder, (start, command)) in enumerate(zip(folders, commands, strict=True), start=1)
    ]  # fmt: skip

    # Then both join, and they leave when they are told to end
    wait_until(lambda: present(broker) == {"client-1", "client-2"}, "both are there")
    for client in clients:
        client.send(signal.SIGTERM)
        client.succeeds()


def test_a_folder_with_an_orchestrator_py(tmp_path: Path, python: tuple[str, dict[str, str]]) -> None:
    # Given a folder with an orchestrator.py, which ``python -m`` takes for ours
    folder = fill(tmp_path / "study")
    program, environment = python

    # When Python is told not to look there (-P), then the command is there
    told = subprocess.run(
        [program, "-P", "-m", "orchestrator.start", "--help"],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert "Train one model over many clients" in told.stdout
