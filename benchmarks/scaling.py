"""What limits one server and one orchestrator: unit costs are measured, the rest is multiplied out.

``make bench`` measures, in :mod:`benchmarks.unit_costs` and by runs of :data:`CASES`; here are the tables of
docs/scaling.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from benchmarks.contender import Case, Outcome
from benchmarks.pasting import markdown
from benchmarks.performance_results import Results, median_of
from benchmarks.unit_costs import Speed
from orchestrator.transport.uploads import slow_updates_at_a_time
from tasks.cores import num_cores

CONTENDER = "ours-virtual-broker"
"""What carries out :data:`CASES`."""
SMALL, LARGE = Case(200, 0.4), Case(24, 20)
"""Two cases whose updates take turns, as in all rounds that are large: their difference is what a byte takes."""
CHECK = Case(80, 4)
"""What the costs come from knows nothing of this one: it is compared with what is calculated."""
CASES = SMALL, LARGE, CHECK
PERIOD_S = 60.0
MODELS_MB = (0.4, 4.0, 40.0, 400.0)
PROCESSES = 4
"""Of own workers, on the broker's machine."""
GIGABIT = 125e6
"""Bytes a second of a line of 1 Gbit/s."""
SLOW_LINE = 1.25e6
"""Bytes a second of an uplink of 10 Mbit/s."""
MAX_CONNECTIONS = 10_000
"""``maxclients`` of Redis and Valkey where nothing else is set."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a real run takes, a client and round: CPU seconds by role, and bytes into the broker and out of it."""

    cpu_s: Mapping[str, float]
    bytes_in: float
    bytes_out: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What one unit of work takes, measured. Seconds are of CPU time, of one core.

    Attributes:
        broker_in_s: The server's, a byte that it is sent (``SET``).
        broker_out_s: The server's, a byte that it sends (``GET``).
        broker_client_s: The server's, a client and round, for messages.
        loop_client_s: The loop process's, a client and round.
        worker_client_s: An own worker's, an update, whatever its size.
        worker_byte_s: An own worker's, a byte of an update: to fetch, check, write, and add it.
        adding_byte_s: To add an update to the running sum, a byte: of the above, what one process does at a time.
        digest_byte_s: Likewise its digest.
        disk_bytes_s: Bytes a second that the disk takes in for good.
        message_in_bytes: What the server is sent a client and round, without models.
        message_out_bytes: What it sends.
        connections: What a client with a worker of its own holds open to the server.
        connection_bytes: The server's memory, a connection.
        download_bytes: The server's memory, a client that fetches the model over a line that is slower than the server.
    """

    broker_in_s: float
    broker_out_s: float
    broker_client_s: float
    loop_client_s: float
    worker_client_s: float
    worker_byte_s: float
    adding_byte_s: float
    digest_byte_s: float
    disk_bytes_s: float
    message_in_bytes: float
    message_out_bytes: float
    connections: float
    connection_bytes: float
    download_bytes: float


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured.

    Attributes:
        speeds: ``in`` or ``out``, ``unix`` or ``tcp``, and connections at once, like ``in tcp 2``.
        check: Role -> CPU seconds a client and round of ``CHECK``.
        costs: What the calculations go by.
    """

    speeds: Mapping[str, Speed]
    check: Mapping[str, float]
    costs: Costs


def measured(results: Results) -> Measured | None:
    """Return what the tables are made of, or None where some of it has not been measured."""
    outcomes = [results.cases.get(case, {}).get(CONTENDER, []) for case in CASES]
    runs = [run_of(case, [each for each in some if not each.error]) for case, some in zip(CASES, outcomes, strict=True)]
    if not results.units or None in runs:
        return None
    small, large, checked = (run for run in runs if run)
    units = dict(results.units)
    speeds = {name: Speed(**speed) for name, speed in units.pop("speeds").items()}
    return Measured(speeds, checked.cpu_s, Costs(**derived(speeds, small, large), **units))


def run_of(case: Case, outcomes: Sequence[Outcome]) -> Run | None:
    """Return what a client and round of a case takes, the median over its turns; None if there is none."""
    if not outcomes:
        return None

    def a_client(figure: Callable[[Outcome], float | None]) -> float:
        return (median_of([figure(outcome) for outcome in outcomes]) or 0.0) / case.num_clients

    def cpu_s(role: str) -> float:
        return a_client(lambda outcome: outcome.cpu_ms.get(role)) / 1000

    return Run(
        {role: cpu_s(role) for role in outcomes[0].cpu_ms},
        1e6 * a_client(attrgetter("broker_in_mb")),
        1e6 * a_client(attrgetter("broker_out_mb")),
    )


def derived(speeds: Mapping[str, Speed], small: Run, large: Run) -> dict[str, float]:
    """Return those of the unit costs that runs of ``SMALL`` and ``LARGE`` show together; see :class:`Costs`.

    Their clients share a worker, each process of which fetches the model once a round.
    """
    size = SMALL.megabytes * 1e6
    worker_client_s, worker_byte_s = line_through(
        (size, small.cpu_s["worker"]), (LARGE.megabytes * 1e6, large.cpu_s["worker"])
    )
    broker_in_s, broker_out_s = speeds["in tcp 2"].cpu_s, speeds["out tcp 2"].cpu_s
    bytes_in = size * (1 + 1 / SMALL.num_clients)
    bytes_out = size * (1 + num_cores() / SMALL.num_clients)
    broker_client_s = small.cpu_s["broker"] - bytes_in * broker_in_s - bytes_out * broker_out_s
    return {
        "broker_in_s": broker_in_s,
        "broker_out_s": broker_out_s,
        "broker_client_s": max(0.0, broker_client_s),
        "loop_client_s": small.cpu_s["orchestrator"],
        "worker_client_s": max(0.0, worker_client_s),
        "worker_byte_s": worker_byte_s,
        "message_in_bytes": max(0.0, small.bytes_in - bytes_in),
        "message_out_bytes": max(0.0, small.bytes_out - bytes_out),
    }


def expected_cpu_s(costs: Costs, case: Case, num_processes: int) -> dict[str, float]:
    """Return what a run like :func:`run_costs` should take by the costs: CPU seconds by role, a client and round."""
    size, times = case.megabytes * 1e6, 1 + num_processes / case.num_clients
    return {
        "orchestrator": costs.loop_client_s,
        "broker": costs.broker_client_s
        + size * ((1 + 1 / case.num_clients) * costs.broker_in_s + times * costs.broker_out_s),
        "worker": costs.worker_client_s + size * costs.worker_byte_s,
    }


def line_through(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """Return where the line through two points meets zero, and its slope."""
    slope = (second[1] - first[1]) / (second[0] - first[0])
    return first[1] - slope * first[0], slope


def all_tables(measured: Measured) -> dict[str, str]:
    """Return each table by the name of its place in the page."""
    return {
        "speeds": speeds(measured),
        "costs": unit_costs(measured.costs),
        "check": check(measured),
        "limits": limits(measured.costs),
        "slow": slow_lines(),
    }


def digits(value: float) -> str:
    """Return a number with two digits that count, and no fewer than those before the point."""
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value >= 0.1 else f"{value:.1g}"


def speeds(measured: Measured) -> str:
    """Return the server's speed by direction, socket and connections."""
    header = ("chunks", "socket", "connections at once", "GB/s", "GB a CPU second of the server")
    names = {"in": "in (`SET`)", "out": "out (`GET`)"}
    rows = []
    for key, speed in measured.speeds.items():
        direction, kind, count = key.split()
        rows.append((names[direction], kind, count, digits(speed.bytes_s / 1e9), digits(1e-9 / speed.cpu_s)))
    return markdown(header, rows)


def unit_costs(costs: Costs) -> str:
    """Return what a client and a byte take."""
    messages = f"{digits(costs.message_in_bytes / 1e3)} kB + {digits(costs.message_out_bytes / 1e3)} kB"
    figures = {
        "loop process, a client and round": f"{digits(1e3 * costs.loop_client_s)} ms of CPU",
        "server, messages of a client and round": f"{digits(1e3 * costs.broker_client_s)} ms of CPU",
        "own worker, an update, whatever its size": f"{digits(1e3 * costs.worker_client_s)} ms of CPU",
        "own worker, an MB of an update": f"{digits(1e9 * costs.worker_byte_s)} ms of CPU",
        "of that, adding it to the running sum, one process at a time": f"{_speed(costs.adding_byte_s)} a CPU second",
        "of that, its digest": f"{_speed(costs.digest_byte_s)} a CPU second",
        "disk, written for good": f"{digits(costs.disk_bytes_s / 1e9)} GB/s",
        "messages of a client and round, into the server and out of it": messages,
        "connections of a client that has a worker of its own": f"{costs.connections:g}",
        "server's memory, a connection": f"{digits(costs.connection_bytes / 1e3)} kB",
        "server's memory, a client that has asked for a model and doesn't read, Valkey as embedded": (
            f"{digits(costs.download_bytes / 1e3)} kB"
        ),
    }
    return markdown(("what", "measured"), figures.items())


def _speed(byte_s: float) -> str:
    return f"{digits(1e-9 / byte_s)} GB"


def check(measured: Measured) -> str:
    """Return measured and calculated CPU times of the case that no cost was derived from."""
    expected = expected_cpu_s(measured.costs, CHECK, num_cores())
    names = {"orchestrator": "loop process", "broker": "server", "worker": "own workers"}
    rows = [
        (names[role], *(digits(1e3 * each * CHECK.num_clients) for each in (seconds, measured.check[role])))
        for role, seconds in expected.items()
    ]
    header = (f"a round of {CHECK.num_clients} clients, {CHECK.megabytes:g} MB", "calculated, ms of CPU", "measured")
    return markdown(header, rows)


def round_s(costs: Costs, line_bytes_s: float, size: float) -> dict[str, tuple[float, float]]:
    """Return the seconds of each resource, as if it were alone, for each client of a round, and once a round.

    Args:
        costs: Unit costs.
        line_bytes_s: Bytes a second of the broker's line, in each direction.
        size: Bytes of the model, and of an update.
    """
    return {
        "network in": ((costs.message_in_bytes + size) / line_bytes_s, size / line_bytes_s),
        "network out": ((costs.message_out_bytes + size) / line_bytes_s, 0),
        "broker's CPU": (
            costs.broker_client_s + size * (costs.broker_in_s + 2 * costs.broker_out_s),
            size * costs.broker_in_s,
        ),
        "loop process": (costs.loop_client_s, 0),
        "own workers": ((costs.worker_client_s + size * costs.worker_byte_s) / PROCESSES, 0),
        "adding up": (size * costs.adding_byte_s, 0),
        "disk": (size / costs.disk_bytes_s, size / costs.disk_bytes_s),
    }


def max_clients(costs: Costs, line_bytes_s: float, size: float, period_s: float) -> dict[str, int]:
    """Return for each resource the clients with which a round takes ``period_s`` of it; see :func:`round_s`."""
    return {
        name: max(0, math.floor((period_s - once_s) / client_s * (1 + 1e-12)))
        for name, (client_s, once_s) in round_s(costs, line_bytes_s, size).items()
    }


def limits(costs: Costs) -> str:
    """Return the clients at which each resource takes the whole period; what binds in bold."""
    rows, names = [], list(round_s(costs, GIGABIT, 1))
    for gigabits in (1, 10):
        for megabytes in MODELS_MB:
            found = max_clients(costs, gigabits * GIGABIT, megabytes * 1e6, PERIOD_S)
            least = min(found.values())
            cells = [f"**{found[name]:,}**" if found[name] == least else f"{found[name]:,}" for name in names]
            rows.append((f"{gigabits} Gbit/s", f"{megabytes:g} MB", *cells))
    return (
        f"{markdown(('line', 'model', *names), rows)}\n\nWith {costs.connections:g} connections a client, a server's "
        f"`maxclients`, {MAX_CONNECTIONS:,} if nothing else is set, is enough for "
        f"**{int(MAX_CONNECTIONS // costs.connections):,}** clients that have workers of their own."
    )


def slow_lines() -> str:
    """Return what the uploads of 1,000 clients on lines of 10 Mbit/s take, by what may be on its way."""
    rows = []
    for megabytes, settings in ((0.4, (64,)), (4.0, (64, 128)), (40.0, (32, 64, 128, 250, 500)), (400.0, (64, 2500))):
        size = round(megabytes * 1e6)
        for in_flight_mb in settings:
            at_a_time = slow_updates_at_a_time(in_flight_mb * 1e6, size)
            line_s, least_s = 1_000 * size / GIGABIT, size / SLOW_LINE
            seconds = max(line_s, least_s, 1_000 * least_s / at_a_time)
            rows.append(
                (
                    f"{megabytes:g} MB",
                    f"{in_flight_mb:g}",
                    f"{at_a_time:,}",
                    digits(seconds),
                    digits(max(line_s, least_s)),
                )
            )
    return markdown(("model", "`--in-flight-mb`", "updates at a time", "s", "s on the lines alone"), rows)
