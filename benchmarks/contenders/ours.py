"""This project, with real processes; clients train the workload of :mod:`benchmarks.constant`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.contender import Case, DidNotCompleteError, Limit, Outcome
from benchmarks.contenders.programs import Programs, programs
from benchmarks.drift import is_right
from benchmarks.sampling import Sampler
from tasks.arrays import map_file
from tasks.cores import num_cores
from tasks.workload import Part
from tests.integration.harness import history

ROLES = (
    ("orchestrator.start", "orchestrator"),
    ("guardian.py", "orchestrator"),
    ("valkey-server", "broker"),
    ("--app orchestrator ", "worker"),
    ("--app worker ", "clients"),
)
"""Part of a process's command line -> its role."""
ROUND_TIMEOUT_S = "1800"
CONSTANT = "benchmarks.constant:Constant,mb={case.megabytes:g}"
"""The workload whose training is next to nothing; which case it is comes in when that is known."""
SETTLED_S = 1.0
LEAST_MB_A_SECOND = 50.0
"""So long before the first round, and before the model goes to the broker at this speed, idle is looked for."""


def is_drift_of_all(run_dir: Path, case: Case, rounds: int) -> bool:
    """Say whether the model is what the clients' constants make of the first."""
    first, last = (map_file(run_dir / "checkpoints" / f"round-{number:04d}.safetensors") for number in (0, rounds))
    return first.keys() == last.keys() and is_right(first.values(), last.values(), case.num_clients, rounds)


@dataclass(frozen=True, slots=True)
class Ours:
    """One way to run a federation.

    Attributes:
        tcp: Whether the broker is reached by TCP, and so named with ``--broker``, or by a unix socket.
        shared: Whether one worker serves all clients, or each has a worker of its own.
        options: More of the command's.
        workload: What is trained, but for the size.
        cohort: Clients of a round; None: all.
        amiss: Clients that don't train, and what the status of each, and its reason, begin with in every round.
        model_is_right: Says so of a run's folder, its case, and a number of rounds.
    """

    tcp: bool = False
    shared: bool = False
    options: Sequence[str] = ()
    workload: str = CONSTANT
    cohort: int | None = None
    amiss: Mapping[str, str] = field(default_factory=dict)
    model_is_right: Callable[[Path, Case, int], bool] = is_drift_of_all

    def run(self, case: Case, num_rounds: int, folder: Path, limit: Limit) -> Outcome:
        """Carry out the rounds, and one more, since the end of a round is where the next begins."""
        run_dir = folder / "run"
        with programs(folder) as started:
            url = self.start(started, case, num_rounds + 1, run_dir)
            with Sampler(ROLES, lambda: url or started.embedded_url()) as sampler:
                started.wait_until(lambda: num_lines(run_dir / "history.jsonl") > num_rounds, limit)
                ended = history(run_dir)[-1]
                over = opened_at(ended) + ended["duration_s"]
                started.wait_until(lambda: sampler.has_sampled_since(over), limit)
                started.wait_until((run_dir / "summary.json").exists, limit)
        self._check(run_dir, case, num_rounds + 1)
        marks = [opened_at(record) for record in history(run_dir)]
        initial = (run_dir / "checkpoints" / "round-0000.safetensors").stat().st_mtime
        ready = max(initial, marks[0] - SETTLED_S - case.megabytes / LEAST_MB_A_SECOND)
        return sampler.outcome(marks, over, num_rounds + 1, ready)

    def start(self, started: Programs, case: Case, rounds: int, run_dir: Path) -> str | None:
        """Start orchestrator and clients; return the broker's URL, if it isn't the embedded one."""
        embedded = not self.tcp and self.shared == (case.num_clients > num_cores())
        url = None if embedded else started.server(tcp=self.tcp)
        workload = self.workload.format(case=case)
        started.python(
            "orchestrator", "orchestrator.start", "--broker", url or "embedded", "--clients", str(case.num_clients),
            "--workload", workload, "--rounds", str(rounds), "--no-evaluate-clients", "--run-dir", str(run_dir),
            "--timeout", ROUND_TIMEOUT_S, "--wait-timeout", ROUND_TIMEOUT_S, *self.options,
        )  # fmt: skip
        if url is not None:
            common = {"CELERY_BROKER_URL": url, "CLIENT_WORKLOAD": workload, "CLIENT_STATE": str(run_dir.parent)}
            if self.shared:
                _start_client(started, "client", CLIENT_COUNT=str(case.num_clients), **common)
            for index in range(0 if self.shared else case.num_clients):
                _start_client(started, f"client-{index}", CLIENT_PART=str(Part(index, case.num_clients)), **common)
        return url

    def _check(self, run_dir: Path, case: Case, rounds: int) -> None:
        """Check that all clients came to what they should in all rounds, and that the model is what they make of it."""
        count = self.cohort or case.num_clients
        for record in history(run_dir):
            responses = record["responses"]
            told_of = {name: f"{answer['status']} {answer['reason']}" for name, answer in responses.items()}
            wrong = [
                f"{client_id} {told}"
                for client_id, told in told_of.items()
                if not told.startswith(self.amiss.get(client_id, "trained "))
            ]
            if wrong or len(responses) != count:
                said = f"{len(responses)} answers of {count}, with a wrong status {len(wrong)}: {'; '.join(wrong[:3])}"
                raise DidNotCompleteError(f"round {record['round_number']} had {said}")
        if not self.model_is_right(run_dir, case, rounds):
            raise DidNotCompleteError("the final model is wrong")


def _start_client(started: Programs, name: str, **environment: str) -> None:
    celery = ("celery", "--app", "worker", "worker", "--hostname", f"{name}@%h", "--loglevel", "INFO")
    started.python(name, *celery, CLIENT_ID=name, **environment)


def opened_at(record: dict[str, Any]) -> float:
    """Return when a round was opened, in seconds since 1970."""
    return datetime.fromisoformat(record["started_at"]).timestamp()


def num_lines(path: Path) -> int:
    """Return how many whole lines a file has; none if it doesn't exist."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
