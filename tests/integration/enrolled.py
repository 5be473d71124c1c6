"""Enrolled clients at a real broker over TLS: the commands of docs/enrolment.md, each where it is to be run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from redis.exceptions import RedisError

from orchestrator.trust.__main__ import main as trust
from orchestrator.trust.authority import Authority
from tasks.broker.connection import connect
from tests.integration.harness import ROOT, WORKLOADS, Field, Program, wait_until
from worker.enrol import main as enrol

PAGE = (ROOT / "docs" / "enrolment.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]
INIT, BROKER, REQUEST, APPROVE, ACCEPT, WORKER, START = COMMANDS
HOST = "broker.example.org"
MODULES: dict[str, click.Command] = {"orchestrator.trust": trust, "worker.enrol": enrol}
"""Modules that the page's commands name -> their commands."""


class Federation:
    """An operator's desk and sites, a folder each, that hand each other files.

    Args:
        field: Starts programs.
        folder: Where their folders are made.
        port: The port of the broker, which is at 127.0.0.1.
        in_processes: Whether each command has a process of its own, as at the sites; else this one carries them out,
            and doesn't begin by importing everything.
    """

    def __init__(self, field: Field, folder: Path, port: int, *, in_processes: bool = False) -> None:
        self.field, self.folder, self.port = field, folder, port
        self._call = _in_process if in_processes else _here
        self.desk = folder / "desk"
        self.desk.mkdir()

    def site(self, name: str) -> Path:
        """A site's folder."""
        return self.folder / name

    def environment(self, name: str) -> dict[str, str]:
        """What is set at a site: where it keeps things."""
        return {"CLIENT_STATE": str(self.site(name) / "state")}

    def done(self, command: str, where: Path, answer: str = "", **environment: str) -> str:
        """Carry a command of the page out, which is to succeed; return what it says."""
        code, said = self._call(shlex.split(command), where, answer, environment)
        assert code == 0, (command, said)
        return said

    def init(self) -> str:
        """Make the operator's folder."""
        return self.done(INIT.replace(HOST, f"127.0.0.1 --port {self.port}"), self.desk)

    @property
    def authority(self) -> Authority:
        """The operator's folder."""
        return Authority(self.desk / "operator")

    def start_broker(self) -> Program:
        """Start the broker, and wait until it lets the orchestrator in."""
        if shutil.which("redis-server") is None:
            pytest.fail("Redis isn't here: make redis, or apt-get install redis-server")
        broker = self.field.start("broker", *BROKER.split(), cwd=self.desk, python=())
        wait_until(self._answers, "the broker answers", 30)
        return broker

    def _answers(self) -> bool:
        try:
            with connect(self.authority.broker_url, retries=0) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def enrol(self, name: str, **environment: str) -> list[str]:
        """Enrol a client in four steps; return what each of the three commands said.

        Args:
            name: The client's id.
            environment: What is set when the package is accepted, beside where the site keeps things.
        """
        site = self.site(name)
        site.mkdir()
        asked = self.done(_of(REQUEST, name), site, **self.environment(name))
        shutil.copy(site / f"{name}.request.json", self.desk)
        approved = self.done(_of(APPROVE, name), self.desk, "y\n")
        shutil.copy(self.desk / f"{name}.package.json", site)
        return [asked, approved, self.done(_of(ACCEPT, name), site, **self.environment(name) | environment)]

    def start_client(self, name: str, **environment: str) -> Program:
        """Start an enrolled client's worker."""
        settings = {"CLIENT_HEARTBEAT_S": "0.5", **self.environment(name), **environment}
        return self.field.start(name, *WORKER.split(), "--loglevel", "INFO", cwd=self.site(name), **settings)

    def start_run(self, *options: str) -> Program:
        """Start the run."""
        return self.field.start("orchestrator", *START.split()[2:], *options, "--run-dir", "run", cwd=self.desk)

    def users(self) -> list[str]:
        """The users of the connections that there are at the broker."""
        with connect(self.authority.broker_url, retries=0) as client:
            return [str(one["user"]) for one in client.client_list()]


def _in_process(command: Sequence[str], where: Path, answer: str, environment: Mapping[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, *command[1:]],
        cwd=where,
        env={**_without_settings(), "PYTHONPATH": str(ROOT), **environment},
        input=answer,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _here(command: Sequence[str], where: Path, answer: str, environment: Mapping[str, str]) -> tuple[int, str]:
    _, _, module, *words = command
    unset = dict.fromkeys(os.environ.keys() - _without_settings().keys())
    paths = environment.get("PYTHONPATH", str(ROOT)).split(os.pathsep)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        patch.setattr(sys, "path", [str(where), *paths, *sys.path])
        done = CliRunner().invoke(MODULES[module], words, answer, env={**unset, **environment}, catch_exceptions=False)
    return done.exit_code, done.output


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("CLIENT_", "CELERY_"))}


def _of(command: str, name: str) -> str:
    return command.replace("hospital-a", name)


PULLED = {"CLIENT_WORKLOAD": "pulled:Pulled", "PYTHONPATH": f"{ROOT}{os.pathsep}{WORKLOADS}"}
"""The environment of a client, or an orchestrator, of the small workload of tests."""
