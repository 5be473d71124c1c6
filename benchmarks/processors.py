"""Which process takes how much processor time for a round, and how many commands that is for the broker.

``python -m benchmarks.processors`` runs small rounds, which are made of nothing else, and prints a table; with
``--docs`` it writes it into docs/performance.md. Where processors are busy with other things, all figures are higher.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from benchmarks.contender import Case, Limit
from benchmarks.contenders.ours import ROLES, Ours, num_lines
from benchmarks.contenders.programs import Programs, programs
from benchmarks.machine import describe
from benchmarks.pasting import markdown, paste_into
from tasks.broker.connection import connect
from tasks.cores import num_cores

DOCS = Path(__file__).parents[1] / "docs" / "performance.md"
LIMIT_S = 300.0
ROUNDS: Mapping[Case, int] = {Case(2, 0.4): 200, Case(100, 0.4): 40}
"""Case -> rounds that are measured."""
LEFT_OUT = 3
"""Rounds before these, in which it is found out how long orders take."""
NAMES = {"orchestrator": "orchestrator", "broker": "server", "worker": "own worker", "clients": "clients' workers"}
"""Role -> its name in the table."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent so far.

    Attributes:
        num_rounds: Rounds that are closed.
        cpu_s: Processor seconds by who spent them.
        num_commands: Commands that the broker has carried out.
    """

    num_rounds: int
    cpu_s: Counter[str]
    num_commands: int


def measure(case: Case, num_rounds: int) -> dict[str, float]:
    """Return what a round takes: milliseconds of processor time by who spends them, and commands of the broker."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, programs(Path(folder)) as started:
        history, limit = Path(folder) / "run" / "history.jsonl", Limit(LIMIT_S)
        is_shared = case.num_clients > num_cores()
        url = Ours(shared=is_shared).start(started, case, num_rounds + LEFT_OUT + 2, history.parent)
        started.wait_until(lambda: num_lines(history) >= LEFT_OUT, limit)
        before = _spent(started, history, url)
        started.wait_until(lambda: num_lines(history) >= LEFT_OUT + num_rounds, limit)
        after = _spent(started, history, url)
    count = after.num_rounds - before.num_rounds
    spent = {who: 1000 * (cpu_s - before.cpu_s[who]) / count for who, cpu_s in after.cpu_s.items()}
    return {**spent, "all": sum(spent.values()), "commands": (after.num_commands - before.num_commands) / count}


def _spent(started: Programs, history: Path, url: str | None) -> Spent:
    cpu_s: Counter[str] = Counter()
    for who, process in _processes():
        times = process.cpu_times()
        cpu_s[who] += times.user + times.system
    with connect(url or started.embedded_url() or "", retries=0) as client:
        return Spent(num_lines(history), cpu_s, client.info("stats")["total_commands_processed"])


def _processes() -> Iterator[tuple[str, psutil.Process]]:
    """Yield the processes of a run, each with what it is called in the table."""
    roles: dict[int, str] = {}
    for process in psutil.Process().children(recursive=True):  # parents come before their children
        command = " ".join(process.cmdline())
        role = next((role for part, role in ROLES if part in command), None)
        if role is None or "guardian" in command:
            continue
        part = ""
        if role in ("worker", "clients"):
            part = ", pool processes" if roles.get(process.ppid()) == role else ", main process"
        roles[process.pid] = role
        yield f"{NAMES[role]}{part}", process


def table(found: Mapping[Case, Mapping[str, float]]) -> str:
    """Return what was measured as a Markdown table."""
    header = ["", *(f"{case.num_clients} clients, {case.megabytes:g} MB" for case in found)]
    first = next(iter(found.values()))
    rows = [
        [
            f"{who}, ms" if who != "commands" else "commands of the broker",
            *(f"{each[who]:.1f}" for each in found.values()),
        ]
        for who in first
    ]
    return markdown(header, rows)


@click.command(help="Say which process takes how much processor time for a small round.")
@click.option("--docs", is_flag=True, help="Write the table into docs/performance.md.")
def main(docs: bool) -> None:
    """Measure, and show the table."""
    text = table({case: measure(case, num_rounds) for case, num_rounds in ROUNDS.items()})
    machine = describe()
    text += f"\n\n{machine['date']}, {machine['CPU']}, {machine['cores']} cores"
    click.echo(text)
    if docs:
        paste_into(DOCS, {"processors": text})


if __name__ == "__main__":
    main()
