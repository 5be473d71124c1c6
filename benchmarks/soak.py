"""A soak: many short rounds, while clients come, leave, freeze and die at random from a seeded plan.

Run it as ``python -m benchmarks.soak --rounds 500 --seed 0``. A real server, a real orchestrator and the real workers
of up to five clients train a tiny model. The exit code is 1 if something was left in Redis, memory grew, a round was
not closed exactly once, or anything hung. Everything it starts ends with it.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import psutil
from redis import Redis

from benchmarks.contenders.ours import num_lines
from benchmarks.footprint import Footprint, describe, growth, measure, settled
from benchmarks.turmoil import Crowd, plan
from tasks.messages import Status
from tests.integration import harness
from tests.integration.harness import Field, Program

WARM_UP_ROUNDS = 10
"""After so many rounds everything is there that a run needs, and is measured first."""
SAMPLES = 3
"""Measurements, one after a round, of which what is in all counts."""
CLOSES_WITHIN_S = 2.0
"""Seconds after the timeout within which a round is to be closed."""
STALL_S = 45.0
"""Seconds without a closed round after which the run is taken to hang."""
FAREWELL_S = 90.0
"""Seconds that the orchestrator may take to end after its last round."""
LEAVE_S = 15.0
"""Seconds that clients may take to end after the orchestrator."""
STATUSES = {status.value for status in (Status.TRAINED, Status.TIMED_OUT, Status.FAILED, Status.REJECTED, Status.LOST)}
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how fast a soak is.

    Attributes:
        rounds: Rounds of the run; more than ``WARM_UP_ROUNDS``.
        seed: Seed of the plan and of the run.
        num_clients: Client ids that there are.
        timeout_s: What a client may take for a round.
        heartbeat_s: The clients' heartbeat.
    """

    rounds: int = 500
    seed: int = 0
    num_clients: int = 5
    timeout_s: float = 2.0
    heartbeat_s: float = 0.5

    @property
    def client_ids(self) -> list[str]:
        """All client ids."""
        return [f"client-{number + 1}" for number in range(self.num_clients)]

    @property
    def limit_s(self) -> float:
        """Seconds after which the soak is given up, whatever it does."""
        return 120.0 + self.rounds * (self.timeout_s + CLOSES_WITHIN_S)


@dataclass
class Result:
    """What came of a soak.

    Attributes:
        seconds: From the first round's opening to the orchestrator's end.
        records: The lines of the run's history.
        events: Kind of event -> how often it happened.
        samples: A footprint for each closed round that was seen.
        left: Keys that are left in Redis at the very end.
        problems: What makes the soak fail.
    """

    seconds: float = 0.0
    records: list[dict[str, Any]] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    samples: list[Footprint] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class SoakHangsError(Exception):
    """Raised when something didn't happen within its bound."""


class Soak:
    """A soak that is on.

    Args:
        settings: How long and how fast.
        folder: Where logs and the run's folder go.
        broker: The server.
    """

    def __init__(self, settings: Settings, folder: Path, broker: Redis) -> None:
        self._settings = settings
        self._run_dir = folder / "run"
        self._field = Field(folder, own_sessions=True)
        self._broker = broker
        self._crowd = Crowd(self._field, broker, settings.heartbeat_s, settings.client_ids)
        self._started = time.monotonic()
        self._result = Result()

    def carry_out(self) -> Result:
        """Carry it out and return what came of it."""
        settings = self._settings
        try:
            orchestrator = self._field.run(
                self._run_dir,
                f"--rounds {settings.rounds} --clients 2 --timeout {settings.timeout_s} --wait-timeout {STALL_S}",
                f"--seed {settings.seed}",
                broker=self._broker,
            )
            self._crowd.begin(max(2, settings.num_clients // 2 + 1))
            try:
                self._live_through(orchestrator)
                self._see_the_end(orchestrator)
            except SoakHangsError as error:
                self._result.problems.append(str(error))
        finally:
            self._field.end()
        return self._judged(orchestrator)

    def _live_through(self, orchestrator: Program) -> None:
        """Have an event happen after each round, and measure, until the last round is closed."""
        settings = self._settings
        events = plan(settings.seed, settings.rounds, settings.client_ids)
        seen, last_change = 0, time.monotonic()
        while seen < settings.rounds and orchestrator.process.poll() is None:
            self._crowd.poll()
            closed = num_lines(self._run_dir / "history.jsonl")
            if closed > seen:
                for event in events[seen : min(closed, settings.rounds - 1)]:
                    self._crowd.schedule(event)
                seen, last_change = closed, time.monotonic()
                self._measure(orchestrator, closed)
            self._check_bounds(last_change, seen)
            time.sleep(_POLL_S)

    def _measure(self, orchestrator: Program, closed: int) -> None:
        if closed >= self._settings.rounds:
            return  # the run is being tidied up
        run_id = json.loads((self._run_dir / "config.json").read_text())["run_id"]
        try:
            process = psutil.Process(orchestrator.process.pid)
            self._result.samples.append(measure(self._broker, process, run_id, closed))
        except psutil.NoSuchProcess:
            return

    def _check_bounds(self, last_change: float, seen: int) -> None:
        now = time.monotonic()
        if now - last_change > STALL_S:
            raise SoakHangsError(f"no round was closed for {STALL_S:g} s after round {seen}")
        if now - self._started > self._settings.limit_s:
            raise SoakHangsError(f"{seen} rounds were closed within {self._settings.limit_s:g} s")

    def _see_the_end(self, orchestrator: Program) -> None:
        """Wait for the orchestrator's end, and that of the clients it said farewell to."""
        steady = self._crowd.calm()
        try:
            code = orchestrator.wait(FAREWELL_S)
        except AssertionError:
            raise SoakHangsError(f"the orchestrator didn't end within {FAREWELL_S:g} s of its last round") from None
        self._result.seconds = time.monotonic() - self._started
        if code != 0:
            self._result.problems.append(f"the orchestrator ended with code {code}: {orchestrator.output[-500:]}")
        deadline = time.monotonic() + LEAVE_S
        for client in steady:
            try:
                client.program.wait(max(0.1, deadline - time.monotonic()))
            except AssertionError:
                self._result.problems.append(f"{client.client_id} didn't end after its farewell: {client.program.log}")
        self._result.left = sorted(key.decode() for key in self._broker.scan_iter(count=1000))

    def _judged(self, orchestrator: Program) -> Result:
        result, settings = self._result, self._settings
        result.events = self._crowd.counts
        result.records = _records(self._run_dir / "history.jsonl", result.problems)
        result.problems += self._crowd.problems
        result.problems += check_history(result.records, settings.rounds)
        first, last = first_and_last(result.samples)
        if first is not None and last is not None:
            result.problems += growth(first, last, settings.num_clients)
            result.problems += [f"left of a round that is over: {name}" for name in sorted(last.stale)[:20]]
        else:
            result.problems.append(f"only {len(result.samples)} measurements were made")
        result.problems += [f"orchestrator.log: {line}" for line in _tracebacks(orchestrator.log)]
        result.problems += [f"jobs.log: {line}" for line in _tracebacks(self._run_dir / "logs" / "jobs.log")]
        return result


def soak(settings: Settings, folder: Path) -> Result:
    """Carry out a soak with a server of its own, logs and the run's folder in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with harness.server() as server:
        return Soak(settings, folder.resolve(), server.client).carry_out()


def first_and_last(samples: list[Footprint]) -> tuple[Footprint | None, Footprint | None]:
    """Return the footprint after the warm-up, and that at the end; None without enough of them."""
    warm = [sample for sample in samples if sample.num_closed >= WARM_UP_ROUNDS]
    if len(warm) < 2 * SAMPLES:
        return None, None
    return settled(warm[:SAMPLES]), settled(warm[-SAMPLES:])


def check_history(records: list[dict[str, Any]], rounds: int) -> list[str]:
    """Return in words what is wrong with a run's history."""
    problems = []
    numbers = [record["round_number"] for record in records]
    if numbers != list(range(1, rounds + 1)):
        problems.append(f"{len(numbers)} rounds of {rounds} are closed: {numbers}")
    counted = set()
    for record in records:
        number, cohort, responses = record["round_number"], record["cohort"], record["responses"]
        if len(set(cohort)) != len(cohort) or sorted(cohort) != sorted(responses):
            problems.append(f"round {number}: cohort {cohort}, answers of {sorted(responses)}")
        if unknown := {response["status"] for response in responses.values()} - STATUSES:
            problems.append(f"round {number}: unknown statuses {sorted(unknown)}")
        counted |= {(number, name) for name, response in responses.items() if response["status"] != Status.LOST}
    late = [entry["order_id"] for record in records for entry in record["late"]]
    for order_id, count in Counter(late).items():
        _, client_id, _, number, _ = order_id.split("/")
        if count > 1 or (int(number), client_id) in counted:
            problems.append(f"the answer to {order_id} came late {count} times, and may have been counted")
    return problems


def report(settings: Settings, result: Result) -> str:
    """Return what came of a soak, in words."""
    records = result.records
    statuses = Counter(response["status"] for record in records for response in record["responses"].values())
    reasons = Counter(
        f"{response['status']}: {re.sub(r'[0-9]+', 'N', response['reason'])[:100]}"
        for record in records
        for response in record["responses"].values()
        if response["reason"]
    )
    failed = sum(record["status"] == "failed" for record in records)
    lines = [
        f"{len(records)} rounds ({failed} of them failed) in {result.seconds:.0f} s, seed {settings.seed}",
        f"events: {_counts(result.events)}",
        f"answers: {_counts(statuses)}, late {sum(len(record['late']) for record in records)}",
        *(f"  {count} {reason}" for reason, count in reasons.most_common()),
        *(describe(footprint) for footprint in first_and_last(result.samples) if footprint is not None),
        f"left in Redis: {_counts(Counter(re.sub(r'client-[0-9]+', '<client>', name) for name in result.left))}",
        *(f"PROBLEM: {problem}" for problem in result.problems),
        "failed" if result.problems else "passed",
    ]
    return "\n".join(lines)


def _tracebacks(log: Path) -> list[str]:
    """Return the last line of each traceback in a log."""
    found, within = [], False
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []:
        if line.startswith("Traceback (most recent call last)"):
            within = True
        elif within and line and not line.startswith((" ", "Traceback", '"""')):
            found.append(line)
            within = False
    return found


def _records(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """Return the lines of a history; a name that stands twice in an object is a problem."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            problems.append(f"a name stands twice in a record: {[name for name, _ in pairs]}")
        return dict(pairs)

    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line, object_pairs_hook=unique) for line in lines]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"


@click.command()
@click.option("--rounds", type=click.IntRange(2 * WARM_UP_ROUNDS), default=500, show_default=True, help="Rounds.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the plan and of the run.")
@click.option("--clients", type=click.IntRange(2), default=5, show_default=True, help="Client ids that there are.")
@click.option("--timeout", type=float, default=2.0, show_default=True, help="Seconds a client may take for a round.")
@click.option("--heartbeat", type=float, default=0.5, show_default=True, help="Seconds between two signs of life.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for logs and the run, which is kept.")
def main(rounds: int, seed: int, clients: int, timeout: float, heartbeat: float, keep: Path | None) -> None:
    """Soak a federation: many rounds, clients that come, leave, freeze and die."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where it was started in the background
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    settings = Settings(rounds, seed, clients, timeout, heartbeat)
    folder, result = keep or Path(tempfile.mkdtemp(prefix="soak-")), None
    try:
        result = soak(settings, folder)
        click.echo(report(settings, result))
    finally:
        if keep is None and not (result and result.problems):
            shutil.rmtree(folder, ignore_errors=True)
    if result.problems:
        click.echo(f"logs and the run: {folder}")
        sys.exit(1)


if __name__ == "__main__":
    main()
