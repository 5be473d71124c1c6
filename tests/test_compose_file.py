"""The Compose file and the Dockerfile: what they promise, and when an ``up`` goes on with a run.

``scripts/compose_check.py`` carries them out for real.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docker-compose.yml"
OWN_SERVICES = ("orchestrator", "worker")
DEFAULTS = {"CLIENTS": "4", "ROUNDS": "10", "WORKLOAD": "digits", "EPOCHS": "5", "ALGORITHM": "fedavg"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def dockerfile() -> list[str]:
    """The Dockerfile's instructions, one a line."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()


def test_docker_compose_accepts_the_file(compose: dict[str, Any]) -> None:
    # Given Compose itself where it is installed, and otherwise the file as YAML
    resolved = _resolved_by_compose()
    # Then the services are there, and by default there are four clients
    services = resolved["services"] if resolved else compose["services"]
    assert set(services) == {"redis", *OWN_SERVICES}
    replicas = services["worker"]["deploy"]["replicas"]
    assert replicas == (4 if resolved else "${CLIENTS:-4}")


def test_redis_keeps_its_data_and_says_when_it_is_ready(compose: dict[str, Any]) -> None:
    redis = compose["services"]["redis"]
    assert redis["image"] == "redis:7"
    options = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert redis["volumes"] == ["redis:/data"]
    assert "redis-cli ping" in redis["healthcheck"]["test"][1]
    assert "ports" not in redis, "it has no password"


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_own_services_wait_for_a_healthy_redis(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["build"] == "."
    assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}


def test_no_service_runs_with_more_rights_than_it_needs(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert "privileged" not in service
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service.get("user", "celeriac") not in ("root", "0")


def test_signals_reach_every_process_and_time_to_end_is_short(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["init"] is True
        # Clients and orchestrator are stopped at once, Redis after them; down has 15 seconds.
        assert service["stop_grace_period"] == "5s"


def test_runs_and_clients_state_are_in_named_volumes(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert "runs:/runs" in services["orchestrator"]["volumes"]
    assert "state:/state" in services["worker"]["volumes"]
    assert services["worker"]["environment"]["CLIENT_STATE"] == "/state"
    assert services["worker"]["restart"] == "on-failure"
    assert {"redis", "runs", "state"} <= set(compose["volumes"])


def test_every_setting_has_a_default() -> None:
    text = FILE.read_text(encoding="utf-8")
    used = re.findall(r"(?<!\$)\$\{(\w+)(:[-+])?([^}]*)\}", text)
    assert used
    assert [name for name, operator, _ in used if not operator] == []
    found = {name: default for name, operator, default in used if operator == ":-"}
    assert {name: found[name] for name in DEFAULTS} == DEFAULTS


def test_image_runs_as_a_user_of_fixed_id_that_owns_the_volumes_folders(dockerfile: list[str]) -> None:
    assert dockerfile[0] == "FROM python:3.11-slim"
    assert [line for line in dockerfile if line.startswith("USER")] == ["USER celeriac"]
    useradd = next(line for line in dockerfile if "useradd" in line)
    assert "--uid 10001" in useradd
    assert re.search(r"chown celeriac:celeriac .*/runs.*/state", useradd)


def test_image_is_built_with_pinned_versions_and_dependencies_before_the_source(dockerfile: list[str]) -> None:
    installs = [line for line in dockerfile if "pip install" in line]
    assert all("--no-cache-dir" in line and "constraints.txt" in line for line in installs)
    whole_source = ["type=bind,target=/tmp/source" in line for line in installs]
    assert whole_source == [False, False, True]


@pytest.mark.parametrize(
    ("summary", "rounds", "resume", "goes_on"),
    [
        (None, 0, "yes", True),  # killed: there is no summary
        (None, 2, "yes", True),
        ("interrupted", 0, "yes", True),
        ("interrupted", 2, "yes", True),
        ("failed", 2, "yes", True),
        ("failed", 0, "yes", False),
        ("completed", 2, "yes", False),
        (None, 2, "no", False),
        ("interrupted", 2, "no", False),
    ],
)
def test_up_goes_on_with_the_newest_run_if_something_is_left_to_do(
    compose: dict[str, Any], tmp_path: Path, summary: str | None, rounds: int, resume: str, goes_on: bool
) -> None:
    # Given an older run that completed, and the newest
    runs = tmp_path / "runs"
    _make_run(runs / "b-older", "completed", rounds=2, created=1_000)
    newest = _make_run(runs / "a-newest", summary, rounds, created=2_000)
    # When the orchestrator's container starts
    arguments = _orchestrator_arguments(compose, tmp_path, runs, RESUME=resume)
    # Then it goes on with that one, or begins another
    if goes_on:
        assert arguments[-2:] == ["--resume", str(newest)]
        assert "--clients=4" not in arguments
    else:
        assert "--resume" not in arguments
        assert arguments[-2] == "--run-dir"
        assert Path(arguments[-1]).parent == runs


def test_first_up_begins_a_run_with_the_settings(compose: dict[str, Any], tmp_path: Path) -> None:
    # Given no run yet
    runs = tmp_path / "runs"
    runs.mkdir()
    # When the orchestrator's container starts with a folder of data and further options
    arguments = _orchestrator_arguments(
        compose, tmp_path, runs, RESUME="yes", DATA="./mine", OPTIONS="--fraction 0.5 --no-evaluate-clients"
    )
    # Then they are its arguments
    assert arguments[:4] == ["-m", "orchestrator.start", "--broker", "redis://redis:6379/0"]
    assert {"--clients=4", "--rounds=10", "--workload=digits"} <= set(arguments)
    assert arguments[-7:-2] == ["--data", "/data", "--fraction", "0.5", "--no-evaluate-clients"]


def _resolved_by_compose() -> dict[str, Any] | None:
    """Return the file as Compose understands it, or None where there is no Compose."""
    docker = shutil.which("docker")
    if docker is None or _fails([docker, "compose", "version"]):
        return None
    mentioned = set(re.findall(r"\$\{([A-Z_]+)", FILE.read_text(encoding="utf-8")))
    environment = {name: value for name, value in os.environ.items() if name not in mentioned}
    command = [docker, "compose", "--file", str(FILE), "--env-file", os.devnull, "config", "--format", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resolved: dict[str, Any] = json.loads(done.stdout)
    return resolved


def _fails(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode != 0


def _make_run(folder: Path, summary: str | None, rounds: int, created: int) -> Path:
    folder.mkdir(parents=True)
    if rounds:
        (folder / "history.jsonl").write_text("{}\n" * rounds)
    (folder / "config.json").write_text("{}")
    os.utime(folder / "config.json", (created, created))
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps({"run_id": "r", "status": summary}, indent=2))
    return folder


def _orchestrator_arguments(compose: dict[str, Any], tmp_path: Path, runs: Path, **environment: str) -> list[str]:
    """Run the orchestrator's command with a ``python`` that only prints its arguments; return those."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    command = [
        _interpolated(part).replace("/runs", str(runs)) for part in compose["services"]["orchestrator"]["command"]
    ]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        env={"DATA": "", "OPTIONS": "", **environment, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    return lines[lines.index("-m") :]


def _interpolated(text: str) -> str:
    """Do what Compose does where no variable is set."""
    return re.sub(r"(?<!\$)\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")
