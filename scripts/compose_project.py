"""A Compose project on whatever Docker engine is reachable, and what to say of it when something is wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NUM_CLIENTS = 4
BUILD_LIMIT_S = 1800.0
COMMAND_LIMIT_S = 120.0

_JOINED = re.compile(r"client (\S+) joined, with \d+ examples")
_AS_OPERATOR = """
import json
from pathlib import Path
from orchestrator.trust.authority import Authority
from tasks.broker.connection import connect
redis = connect(Authority(Path("/operator")).broker_url)
"""

Record = dict[str, Any]


class CheckError(Exception):
    """Raised when something isn't as it should be."""


@dataclass(frozen=True, slots=True)
class Project:
    """The Compose project under test.

    Attributes:
        docker: The program.
        name: The project's name.
        environment: Of every command; it holds none of the caller's values for the compose file.
    """

    docker: str
    name: str
    environment: dict[str, str]

    def container(self, service: str, number: int = 1) -> str:
        """Return the name of a service's container; they are counted from 1."""
        return f"{self.name}-{service}-{number}"

    def call(self, *arguments: str, limit_s: float = COMMAND_LIMIT_S) -> str:
        """Run ``docker`` with ``arguments`` and return what it writes to standard output.

        Raises:
            CheckError: If it fails, or takes longer than ``limit_s``.
        """
        shown = f"docker {' '.join(arguments)}"[:200]
        try:
            done = subprocess.run(
                [self.docker, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CheckError(f"{shown}: not done within {limit_s:g} s") from None
        if done.returncode != 0:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            raise CheckError(f"{shown}: exit code {done.returncode}\n{said}")
        return done.stdout

    def compose(self, *arguments: str, limit_s: float = COMMAND_LIMIT_S) -> str:
        """Run ``docker compose`` on this project; see :meth:`call`."""
        file = str(ROOT / "docker-compose.yml")
        project = ("--project-name", self.name, "--file", file, "--env-file", os.devnull)
        return self.call("compose", *project, *arguments, limit_s=limit_s)

    def with_settings(self, settings: dict[str, str]) -> Project:
        """Return the same project with other values for the compose file."""
        return replace(self, environment={**self.environment, **settings})

    def up(self) -> None:
        """Start whatever doesn't run, as an operator does."""
        self.compose("up", "--detach", "--build", "--scale", f"worker={NUM_CLIENTS}", limit_s=BUILD_LIMIT_S)

    def state(self, container: str) -> tuple[str, int]:
        """Return a container's status (``running``, ``exited``, …) and its last exit code."""
        status, code = self.call("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", container).split()
        return status, int(code)

    def count_in_log(self, text: str) -> int:
        """Return how often the orchestrator has said ``text``."""
        return self.compose("logs", "--no-log-prefix", "orchestrator").count(text)

    def joined(self, number: int) -> list[str]:
        """Return the ids under which the client in a worker's container has joined, the oldest first."""
        return _JOINED.findall(self.compose("logs", "--no-log-prefix", "--index", str(number), "worker"))

    def as_operator(self, code: str) -> Any:
        """Run code that has ``redis``, with the operator's credentials, and return the JSON that it prints."""
        return json.loads(self.compose("exec", "--no-TTY", "admission", "python", "-c", _AS_OPERATOR + code))

    def runs(self) -> dict[str, Record]:
        """Return the runs in the volume by folder name: ``config``, ``summary`` (None: none yet) and ``history``."""
        with tempfile.TemporaryDirectory(prefix="compose-check-") as folder:
            self.compose("cp", "orchestrator:/runs", folder)
            return {path.parent.name: _read_run(path.parent) for path in Path(folder).rglob("config.json")}


def _read_run(folder: Path) -> Record:
    summary, history = folder / "summary.json", folder / "history.jsonl"
    lines = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
    return {
        "config": json.loads((folder / "config.json").read_text(encoding="utf-8")),
        "summary": json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else None,
        "history": [json.loads(line) for line in lines],
    }


def expect(fact: bool, otherwise: str) -> None:
    """Raise :class:`CheckError` with what is otherwise, unless it is a fact."""
    if not fact:
        raise CheckError(otherwise)


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"compose-check: {text}\n")
    sys.stdout.flush()
