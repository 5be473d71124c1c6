"""Tables of docs/scaling.md: measured unit costs, and what is calculated and simulated from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from benchmarks.capacity import (
    ADDING,
    BROKER,
    DISK,
    LOOP,
    MAX_CONNECTIONS,
    NETWORK_IN,
    NETWORK_OUT,
    SUM_BYTES,
    WORKERS,
    Costs,
    Site,
    best_tree,
    binding,
    broker_memory,
    max_clients,
    max_connected,
    num_sites,
    round_s,
    tree_round_s,
)  # fmt: skip
from benchmarks.scaling_costs import CHECK, Measured, expected_cpu_s
from benchmarks.uploads import Course, Simulation, Upload
from orchestrator.config import RunConfig
from orchestrator.flow import Flow, slow_after_s, slow_updates_at_a_time, updates_at_a_time
from tasks.blobs import CHUNK_BYTES
from tasks.cores import num_cores
from tasks.messages import MAX_TURN_S
from tasks.redis_chunks import AHEAD

PERIOD_S = 60.0
MODELS_MB = (0.4, 4.0, 40.0, 400.0)
CLIENTS = (100, 1_000, 10_000)
SITE = Site()
RESOURCES = (NETWORK_IN, NETWORK_OUT, BROKER, LOOP, WORKERS, ADDING, DISK)
SLOW_LINE = 1.25e6
"""Bytes a second of an uplink of 10 Mbit/s."""
DEFAULT_MB = float(RunConfig.model_fields["in_flight_mb"].default)


def all_tables(measured: Measured) -> dict[str, str]:
    """Return each table by the name of its place in the page."""
    costs = measured.costs
    return {
        "speeds": speeds(measured),
        "costs": unit_costs(measured),
        "check": check(measured),
        "rounds": rounds(costs),
        "limits": limits(costs),
        "processes": processes(costs),
        "memory": memory(costs),
        "uploads": uploads(costs),
        "lines": lines(costs),
        "timeouts": timeouts(costs),
        "regions": regions(costs),
        "storage": storage(costs),
        "trees": trees(costs),
    }


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


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


def unit_costs(measured: Measured) -> str:
    """Return what a client and a byte take."""
    costs, adding = measured.costs, measured.costs.adding_byte_s
    rows = [
        ("loop process, a client and round", f"{digits(1e3 * costs.loop_client_s)} ms of CPU"),
        ("server, messages of a client and round", f"{digits(1e3 * costs.broker_client_s)} ms of CPU"),
        ("own worker, an update, whatever its size", f"{digits(1e3 * costs.worker_client_s)} ms of CPU"),
        ("own worker, an MB of an update", f"{digits(1e9 * costs.worker_byte_s)} ms of CPU"),
        ("of that, adding it to the running sum, one process at a time", f"{digits(1e-9 / adding)} GB a CPU second"),
        ("of that, its digest", f"{digits(1e-9 / measured.digest_s)} GB a CPU second"),
        ("disk, written for good", f"{digits(costs.disk_bytes_s / 1e9)} GB/s"),
        (
            "messages of a client and round, into the server and out of it",
            f"{digits(costs.message_in_bytes / 1e3)} kB + {digits(costs.message_out_bytes / 1e3)} kB",
        ),
        ("connections of a client that has a worker of its own", f"{costs.connections:g}"),
        ("server's memory, a connection", f"{digits(costs.connection_bytes / 1e3)} kB"),
        (
            f"server's memory, a client that fetches {AHEAD} chunks and doesn't read, Valkey as embedded",
            f"{digits(costs.download_bytes / 1e6)} MB",
        ),
    ]
    return markdown(("what", "measured"), rows)


def check(measured: Measured) -> str:
    """Return measured and calculated CPU times of the case that no cost was derived from."""
    expected = expected_cpu_s(measured.costs, CHECK, num_cores())
    names = {"orchestrator": "loop process", "broker": "server", "worker": "own workers"}
    rows = [
        (
            names[role],
            digits(1e3 * seconds * CHECK.num_clients),
            digits(1e3 * measured.cpu_s[str(CHECK)][role] * CHECK.num_clients),
        )
        for role, seconds in expected.items()
    ]
    header = (f"a round of {CHECK.num_clients} clients, {CHECK.megabytes:g} MB", "calculated, ms of CPU", "measured")
    return markdown(header, rows)


def rounds(costs: Costs) -> str:
    """Return seconds a round by resource, model and clients; what binds in bold."""
    rows = []
    for megabytes in MODELS_MB:
        for num_clients in CLIENTS:
            seconds = round_s(costs, SITE, megabytes * 1e6, num_clients)
            rows.append((f"{megabytes:g} MB", f"{num_clients:,}", *bold(seconds, binding(seconds))))
    return markdown(("model", "clients", *RESOURCES), rows)


def bold(values: Mapping[str, float], which: str) -> list[str]:
    """Return values by resource, one of them in bold."""
    return [f"**{digits(values[name])}**" if name == which else digits(values[name]) for name in RESOURCES]


def limits(costs: Costs) -> str:
    """Return the clients at which each resource takes the whole period."""
    rows = []
    for gigabits, line_bytes_s in ((1, 125e6), (10, 1.25e9)):
        for megabytes in MODELS_MB:
            found = max_clients(costs, replace(SITE, line_bytes_s=line_bytes_s), megabytes * 1e6, PERIOD_S)
            least = min(found, key=found.__getitem__)
            rows.append((f"{gigabits} Gbit/s", f"{megabytes:g} MB", *bold(found, least)))
    table = markdown(("line", "model", *RESOURCES), rows)
    return (
        f"{table}\n\nWith {costs.connections:g} connections a client, a server's `maxclients`, {MAX_CONNECTIONS:,} if "
        f"nothing else is set, is enough for **{max_connected(costs):,}** clients that have workers of their own."
    )


def processes(costs: Costs) -> str:
    """Return how many clients a period takes by the number of own processes, on one machine and beside it."""
    rows = []
    for count in (1, 2, 4, 8, 16, 32):
        cells = [str(count)]
        for megabytes in (0.4, 40.0):
            for are_elsewhere in (False, True):
                site = Site(line_bytes_s=1.25e9, processes=count, are_elsewhere=are_elsewhere)
                found = max_clients(costs, site, megabytes * 1e6, PERIOD_S)
                least = min(found, key=found.__getitem__)
                cells.append(f"{found[least]:,} ({least})")
        rows.append(cells)
    header = (
        "processes",
        "0.4 MB, beside the broker",
        "0.4 MB, elsewhere",
        "40 MB, beside the broker",
        "40 MB, elsewhere",
    )
    return markdown(header, rows)


def memory(costs: Costs) -> str:
    """Return the broker's memory by model, clients and lines, with the default for what may be on its way."""
    copying = replace(costs, download_bytes=float(AHEAD * CHUNK_BYTES))
    rows = []
    for megabytes in MODELS_MB:
        for num_clients in (100, 1_000):
            size = round(megabytes * 1e6)
            cells = [f"{megabytes:g} MB", f"{num_clients:,}"]
            for unit, are_slow in ((costs, False), (costs, True), (copying, True)):
                found = broker_memory(unit, size, num_clients, DEFAULT_MB * 1e6, are_slow=are_slow)
                cells.append(digits(found.total / 1e6))
            rows.append(cells)
    header = (
        "model",
        "clients",
        "fast lines",
        "slow lines, Valkey 9.1",
        "slow lines, a server that copies what it sends",
    )
    return markdown(header, rows)


def course(costs: Costs, megabytes: float, in_flight_mb: float, of: Sequence[Upload], line_bytes_s: float) -> Course:
    """Simulate the uploads of a round, with the turns that the orchestrator would give."""
    size = round(megabytes * 1e6)
    allowed = in_flight_mb * 1e6, size
    flow = Flow(updates_at_a_time(*allowed), slow_updates_at_a_time(*allowed), slow_after_s(*allowed))
    take_in_s = costs.worker_client_s + costs.worker_byte_s * size
    return Simulation(of, flow, size, line_bytes_s, SITE.processes, take_in_s).run()


def uploads(costs: Costs) -> str:
    """Return what a round of 1,000 clients on lines of 10 Mbit/s takes, by what may be on its way."""
    rows = []
    for megabytes, settings in ((0.4, (64,)), (4.0, (64, 128)), (40.0, (32, 64, 128, 250, 500)), (400.0, (64, 2500))):
        for in_flight_mb in settings:
            found = course(costs, megabytes, in_flight_mb, [Upload(0.0, SLOW_LINE)] * 1_000, SITE.line_bytes_s)
            allowed = in_flight_mb * 1e6, round(megabytes * 1e6)
            rows.append(
                (
                    f"{megabytes:g} MB",
                    f"{in_flight_mb:g}",
                    f"{updates_at_a_time(*allowed):,} / {slow_updates_at_a_time(*allowed):,}",
                    digits(found.over_s),
                    digits(max(megabytes * 1e6 / SLOW_LINE, 1_000 * megabytes * 1e6 / SITE.line_bytes_s)),
                    f"{digits(found.mean_bytes / 1e6)} / {digits(found.most_bytes / 1e6)}",
                )
            )
    header = (
        "model", "`--in-flight-mb`", "updates at a time, fast / slow lines", "s", "s at the least",
        "MB in the broker, mean / most",
    )  # fmt: skip
    return markdown(header, rows)


def lines(costs: Costs) -> str:
    """Return how long rounds last by what lines clients have; 1,000 clients, 40 MB, by the default."""
    rows = []
    kinds = (
        ("all 1 Mbit/s", [1.25e5] * 1_000),
        ("all 10 Mbit/s", [1.25e6] * 1_000),
        ("all 100 Mbit/s", [1.25e7] * 1_000),
        ("one in ten 1 Mbit/s, the others 100", [1.25e5 if number % 10 == 0 else 1.25e7 for number in range(1_000)]),
        ("all 1 Gbit/s", [1.25e8] * 1_000),
    )
    for name, speeds_ in kinds:
        cells = [name]
        for in_flight_mb in (DEFAULT_MB, 250):
            found = course(costs, 40.0, in_flight_mb, [Upload(0.0, speed) for speed in speeds_], SITE.line_bytes_s)
            cells += [digits(found.over_s), digits(found.most_bytes / 1e6)]
        rows.append(cells)
    header = ("clients' lines", f"s, {DEFAULT_MB:g} MB", "MB at the most", "s, 250 MB", "MB at the most")
    return markdown(header, rows)


def timeouts(costs: Costs) -> str:
    """Return how many of 1,000 updates of 40 MB, ready after 10 s, come in before a round's time is over."""
    header = ("`--timeout`", *(f"`--in-flight-mb {in_flight_mb:g}`" for in_flight_mb in (DEFAULT_MB, 250)))
    courses = [
        course(costs, 40.0, in_flight_mb, [Upload(10.0, SLOW_LINE)] * 1_000, SITE.line_bytes_s)
        for in_flight_mb in (DEFAULT_MB, 250)
    ]
    rows = [
        (f"{timeout_s}", *(f"{found.num_sent_by(timeout_s + min(timeout_s, MAX_TURN_S)):,}" for found in courses))
        for timeout_s in (30, 60, 120, 300, 600, 1_200)
    ]
    return markdown(header, rows)


def regions(costs: Costs) -> str:
    """Return seconds a round, and what is merged, by the number of regional brokers."""
    rows = []
    for num_regions in (1, 2, 4, 8, 16, 32, 64):
        cells = [str(num_regions)]
        for megabytes, num_clients in ((0.4, 10_000), (40.0, 1_000), (40.0, 10_000)):
            fans = (-(-num_clients // num_regions), num_regions)[: 1 if num_regions == 1 else 2]
            merged = 0 if num_regions == 1 else num_regions * (1 + SUM_BYTES) * megabytes
            cells += [digits(tree_round_s(costs, SITE, megabytes * 1e6, fans)), digits(merged) if merged else "–"]
        rows.append(cells)
    header = (
        "regions", "s, 10,000 clients, 0.4 MB", "MB merged",
        "s, 1,000 clients, 40 MB", "MB merged", "s, 10,000 clients, 40 MB", "MB merged",
    )  # fmt: skip
    return markdown(header, rows)


def storage(costs: Costs) -> str:
    """Return what a round takes where the broker carries messages alone, beside one that carries all."""
    rows = []
    for megabytes in MODELS_MB:
        for site, name in ((SITE, "all"), (replace(SITE, has_object_storage=True), "messages")):
            found = max_clients(costs, site, megabytes * 1e6, PERIOD_S)
            names = (BROKER, LOOP, NETWORK_IN, NETWORK_OUT, WORKERS, ADDING)
            rows.append((f"{megabytes:g} MB", name, *(f"{found[name]:,}" for name in names)))
    header = ("model", "the broker carries", BROKER, LOOP, NETWORK_IN, NETWORK_OUT, WORKERS, ADDING)
    return markdown(header, rows)


def trees(costs: Costs) -> str:
    """Return the shortest rounds by depth, clients and model."""
    rows = []
    for megabytes in (0.4, 40.0):
        for num_clients in (1_000, 10_000, 100_000):
            cells = [f"{megabytes:g} MB", f"{num_clients:,}"]
            for depth in (1, 2, 3):
                fans = best_tree(costs, SITE, megabytes * 1e6, num_clients, depth)
                shape = " × ".join(f"{fan:,}" for fan in fans)
                seconds = digits(tree_round_s(costs, SITE, megabytes * 1e6, fans))
                cells.append(f"{seconds} s: {shape} ({num_sites(fans):,} sites)")
            rows.append(cells)
    return markdown(("model", "clients", "depth 1", "depth 2", "depth 3"), rows)
