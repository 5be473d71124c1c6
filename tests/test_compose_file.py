"""When an ``up`` goes on with a run, and what it begins; ``scripts/compose_check.py`` carries it out for real."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).resolve().parent.parent / "docker-compose.yml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return content


def test_every_setting_has_a_default() -> None:
    # Given all variables of the file, when none is set, then there is a value for each
    used = re.findall(r"(?<!\$)\$\{(\w+)(:[-+])?[^}]*\}", FILE.read_text(encoding="utf-8"))
    assert used
    assert [name for name, operator in used if not operator] == []


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
    assert arguments[:4] == ["-m", "orchestrator.start", "--broker", "/operator"]
    assert {"--clients=4", "--rounds=10", "--workload=digits"} <= set(arguments)
    assert arguments[-7:-2] == ["--data", "/data", "--fraction", "0.5", "--no-evaluate-clients"]


def test_each_service_has_what_it_needs_of_the_credentials_and_no_more(compose: dict[str, Any]) -> None:
    # Given the volumes that each service mounts, when they are looked at, then the operator's folder, where the
    # authority's key is, can be written by those alone that make credentials, and clients don't have it
    volumes = {name: set(service["volumes"]) for name, service in compose["services"].items()}
    whole = {"operator:/operator", "broker:/operator/broker"}
    assert volumes["trust"] == whole
    assert volumes["admission"] == {*whole, "requests:/requests", "packages:/packages"}
    assert volumes["redis"] == {"broker:/operator/broker:ro"}
    assert [each for each in volumes["orchestrator"] if "operator" in each] == ["operator:/operator:ro"]
    assert {each for each in volumes["worker"] if not each.startswith("${")} == {
        "requests:/requests",
        "packages:/packages:ro",
    }
    # And what a client keeps is in no volume that others mount
    assert compose["services"]["worker"]["environment"]["CLIENT_STATE"] == "/state"
    assert not [each for named in volumes.values() for each in named if "/state" in each]


def test_nothing_runs_as_root_and_the_page_alone_is_reached_from_this_machine_alone(compose: dict[str, Any]) -> None:
    services = dict(compose["services"])
    # Given the page, then its port is published for this machine alone, it asks for a token, and it writes nothing
    assert services["page"]["ports"] == ["127.0.0.1:${PAGE_PORT:-8600}:8600"]
    assert "--token-file" in services["page"]["command"]
    assert services["page"]["volumes"] == ["runs:/runs:ro"]
    # And no other service has a port that is published
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert name == "page" or "ports" not in service
    assert services["redis"]["user"] == "10001:10001"
    assert "--uid 10001" in (FILE.parent / "Dockerfile").read_text(encoding="utf-8")


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
