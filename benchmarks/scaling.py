"""What limits one server and one orchestrator: unit costs are measured, the rest is multiplied out.

``make scaling`` measures for a minute or two, keeps the figures in ``benchmarks/results/scaling.json``, and prints
tables; with ``--docs`` it writes them into docs/scaling.md, with ``--tables`` it measures nothing.
"""

from __future__ import annotations

import json
import math
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks.machine import describe
from benchmarks.pasting import markdown, paste_into
from benchmarks.scaling_costs import CHECK, Costs, Measured, expected_cpu_s, measure
from benchmarks.server_costs import Speed
from orchestrator.transport.uploads import slow_updates_at_a_time
from tasks.cores import num_cores

DOCS = Path(__file__).parents[1] / "docs" / "scaling.md"
PATH = Path(__file__).parent / "results" / "scaling.json"
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


def save(measured: Measured, machine: dict[str, str], path: Path) -> None:
    """Keep what was measured, and on what, at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "measured": asdict(measured)}, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[Measured, dict[str, str]]:
    """Return what is kept at ``path``.

    Raises:
        ClickException: If there is nothing, or something else.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = kept["measured"]
        speeds = {name: Speed(**speed) for name, speed in found["speeds"].items()}
        return Measured(speeds, found["check"], Costs(**found["costs"])), kept["machine"]
    except FileNotFoundError:
        raise click.ClickException(f"{path} doesn't exist: run `make scaling` without --tables first") from None
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"{path} is not what `make scaling` writes: {error!r}") from None


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


@click.command()
@click.option("--tables", is_flag=True, help="Measure nothing; make the tables of what was measured last.")
@click.option("--docs", is_flag=True, help="Write the tables into docs/scaling.md.")
def main(*, tables: bool, docs: bool) -> None:
    """Measure unit costs, and calculate from them how far one server and one orchestrator go."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not tables:
        save(measure(lambda what: click.echo(f"measuring {what}", err=True)), describe(), PATH)
    measured, machine = load(PATH)
    texts = {"machine": ", ".join(f"{name} {value}" for name, value in machine.items()), **all_tables(measured)}
    click.echo("\n\n".join(texts.values()))
    if docs:
        paste_into(DOCS, texts)


if __name__ == "__main__":
    main()
