"""What connected clients cost that aren't in the cohort: rounds of 100 clients, with as many there, and with 2,000.

``python -m benchmarks.many_clients`` takes some minutes and prints tables; with ``--docs`` it writes them into
docs/scaling.md. The clients are a simulated crowd (:mod:`benchmarks.crowd`), which takes its part of this machine's
processors; broker, orchestrator and own worker are real. The two take turns, so that what else goes on counts for both.
"""

from __future__ import annotations

import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
import psutil
from redis import Redis

from benchmarks.contender import DidNotCompleteError, Limit
from benchmarks.contenders.ours import num_lines, opened_at
from benchmarks.contenders.programs import Programs, programs
from benchmarks.machine import describe
from benchmarks.pasting import markdown, paste_into
from benchmarks.sampling import cpu_s_of, role_of
from tasks.broker.connection import connect
from tasks.scope import CLIENT_KEY_PREFIX
from tests.integration.harness import history

DOCS = Path(__file__).parents[1] / "docs" / "scaling.md"
CONNECTED = (100, 2000)
COHORT = 100
WORKLOAD = "benchmarks.constant:Constant,mb=0.4"
TURNS, ROUNDS, LEFT_OUT = 3, 12, 3
"""Turns of each, rounds that count in each, and rounds before those."""
IDLE_S = 6.0
"""Seconds for which the broker is looked at while no run is on: three heartbeats."""
LIMIT_S = 120.0
ROLES = (
    ("orchestrator.start", "loop process"),
    ("valkey-server", "broker"),
    ("--app orchestrator ", "own worker"),
    ("benchmarks.crowd", "the crowd"),
)
"""Part of a process's command line -> its name in the table."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent between two instants, or up to one.

    Attributes:
        seconds: How long it took.
        cpu_s: Processor seconds by role.
        commands: What the broker was asked.
        traffic: Bytes into the broker and out of it.
    """

    seconds: float
    cpu_s: Mapping[str, float]
    commands: int
    traffic: int

    def since(self, before: Spent) -> Spent:
        """Return what was spent since another instant."""
        return Spent(
            self.seconds - before.seconds,
            {role: cpu_s - before.cpu_s.get(role, 0.0) for role, cpu_s in self.cpu_s.items()},
            self.commands - before.commands,
            self.traffic - before.traffic,
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """What was measured with so many clients connected.

    Attributes:
        rounds_s: Seconds of each round.
        in_rounds: What these took together.
        idle: What the broker took while no run was on.
        connections: Connections that the broker had then.
    """

    rounds_s: Sequence[float]
    in_rounds: Spent
    idle: Spent
    connections: int


def measure(num_connected: int) -> Turn:
    """Have clients connect, look what they cost, and carry out rounds with a part of them.

    Raises:
        DidNotCompleteError: If that takes too long, a program ends, or updates are missing.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name, programs(Path(name)) as started:
        with _gathered(started, num_connected, Path(name) / "crowd") as broker:
            before = _spent(broker)
            time.sleep(IDLE_S)
            idle, connections = _spent(broker).since(before), broker.info("clients")["connected_clients"]
            run_dir = Path(name) / "run"
            started.python(
                "orchestrator", "orchestrator.start", "--broker", _url(broker), "--clients", str(num_connected),
                "--cohort", str(COHORT), "--workload", WORKLOAD, "--rounds", str(LEFT_OUT + ROUNDS + 2),
                "--no-evaluate-clients", "--run-dir", str(run_dir),
            )  # fmt: skip
            in_rounds = _rounds(started, run_dir, broker)
            started.wait_until((run_dir / "summary.json").exists, Limit(LIMIT_S))  # so that no line is half written
        records = history(run_dir)[: LEFT_OUT + ROUNDS + 1]
    missing = [record["round_number"] for record in records if _num_trained(record) < COHORT]
    if missing:
        raise DidNotCompleteError(f"rounds {missing} lacked updates")
    marks = [opened_at(record) for record in records[LEFT_OUT:]]
    return Turn([end - begin for begin, end in pairwise(marks)], in_rounds, idle, connections)


@contextmanager
def _gathered(started: Programs, num_clients: int, folder: Path) -> Iterator[Redis]:
    """Start a broker, and a crowd there; yield a client for the broker when all have announced themselves."""
    url = started.server(tcp=True)
    options = ("--clients", str(num_clients), "--workload", WORKLOAD, "--folder", str(folder))
    started.python("crowd", "benchmarks.crowd", "--broker", url, *options)
    with connect(url) as broker:
        started.wait_until(lambda: _num_announced(broker) == num_clients, Limit(LIMIT_S))
        yield broker


def _url(broker: Redis) -> str:
    return f"redis://127.0.0.1:{broker.connection_pool.connection_kwargs['port']}/0"


def _num_announced(broker: Redis) -> int:
    return sum(1 for _ in broker.scan_iter(f"{CLIENT_KEY_PREFIX}*", count=1000))


def _num_trained(record: Mapping[str, Mapping[str, Mapping[str, str]]]) -> int:
    return sum(response["status"] == "trained" for response in record["responses"].values())


def _rounds(started: Programs, run_dir: Path, broker: Redis) -> Spent:
    """Return what the rounds take, but for the first."""

    def closed(number: int) -> Spent:
        started.wait_until(lambda: num_lines(run_dir / "history.jsonl") >= number, Limit(LIMIT_S))
        return _spent(broker)

    before = closed(LEFT_OUT)
    return closed(LEFT_OUT + ROUNDS + 1).since(before)


def _spent(broker: Redis) -> Spent:
    """Return what was spent so far."""
    cpu_s: dict[str, float] = {}
    for process in psutil.Process().children(recursive=True):
        role = role_of(ROLES, " ".join(process.cmdline()))
        cpu_s[role] = cpu_s.get(role, 0.0) + cpu_s_of(process)
    said = broker.info("stats")
    traffic = said["total_net_input_bytes"] + said["total_net_output_bytes"]
    return Spent(time.monotonic(), cpu_s, said["total_commands_processed"], traffic)


def rounds_table(found: Mapping[int, Sequence[Turn]]) -> str:
    """Return what a round takes, by how many clients are connected."""
    medians = {num: statistics.median(each for turn in turns for each in turn.rounds_s) for num, turns in found.items()}
    least = min(medians.values())
    header = ("connected", "s a round", "of the least", *(f"{role}, ms of CPU" for _, role in ROLES))
    rows = []
    for num, turns in found.items():
        rounds = len(turns) * (ROUNDS + 1)
        spent = (sum(turn.in_rounds.cpu_s.get(role, 0.0) for turn in turns) / rounds for _, role in ROLES)
        cells = (f"{1000 * cpu_s:.0f}" for cpu_s in spent)
        rows.append((f"{num:,}", f"**{medians[num]:.3f}**", f"{medians[num] / least:.2f}", *cells))
    return markdown(header, rows)


def idle_table(found: Mapping[int, Sequence[Turn]]) -> str:
    """Return what connected clients take of the broker while no run is on."""
    header = ("connected", "connections", "commands a second", "kB a second", "of a core, broker")
    rows = []
    for num, turns in found.items():
        seconds = sum(turn.idle.seconds for turn in turns)
        commands, traffic = (sum(values) / seconds for values in zip(*map(_asked, turns), strict=True))
        cpu_s = sum(turn.idle.cpu_s["broker"] for turn in turns) / seconds
        connections = f"{turns[-1].connections:,}"
        rows.append((f"{num:,}", connections, f"{commands:,.0f}", f"{traffic / 1e3:,.0f}", f"{100 * cpu_s:.1f} %"))
    return markdown(header, rows)


def _asked(turn: Turn) -> tuple[int, int]:
    return turn.idle.commands, turn.idle.traffic


def tables(turns: int) -> dict[str, str]:
    """Measure, and return each table by the name of its place in docs/scaling.md.

    Raises:
        ClickException: If something doesn't complete.
    """
    found: dict[int, list[Turn]] = {num: [] for num in CONNECTED}
    for turn in range(turns):
        for num in CONNECTED:
            click.echo(f"turn {turn + 1} of {turns}: {num} clients", err=True)
            try:
                found[num].append(measure(num))
            except DidNotCompleteError as error:
                raise click.ClickException(f"with {num} clients connected: {error}") from None
    machine = describe()
    what = f"Commit {machine['commit']}, {machine['CPU']}, {machine['cores']} cores, Valkey {machine['Valkey']}"
    return {"many-rounds": rounds_table(found), "many-idle": f"{idle_table(found)}\n\n{what}"}


@click.command(help="Say what clients cost that are connected and not in the cohort.")
@click.option("--docs", is_flag=True, help="Write the tables into docs/scaling.md.")
@click.option("--turns", default=TURNS, type=click.IntRange(1), show_default=True, help="Turns of each.")
def main(docs: bool, turns: int) -> None:
    """Measure, and show the tables."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    texts = tables(turns)
    click.echo("\n\n".join(texts.values()))
    if docs:
        paste_into(DOCS, texts)


if __name__ == "__main__":
    main()
