"""The command ``python -m orchestrator.statistics``: statistics of what clients have, without a model."""

from __future__ import annotations

import itertools
import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from orchestrator.analytics.query import Query, ask_statistics
from orchestrator.analytics.report import show
from orchestrator.asking import connect_clients
from orchestrator.config import RunConfig
from orchestrator.options import OneLineCommand, names
from tasks.broker.url import URL_VARIABLE
from tasks.errors import ConfigurationError, FederationError
from tasks.files import is_folder, replace_text
from tasks.messages import MAX_TIMEOUT_S
from tasks.orders.statistics import DEFAULT_MIN_COUNT, LARGEST, MAX_EDGES
from tasks.readable import readable

EMBEDDED = "embedded"
_DEFAULTS = {name: field.default for name, field in RunConfig.model_fields.items()}


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r}: numbers with commas between them are allowed, like {option}") from None


def _edges(
    _context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]
) -> dict[str, tuple[float, ...]]:
    edges = {}
    for text in texts:
        name, _equals, numbers = text.rpartition("=")
        found = _numbers(numbers, "age=0,20,40,60") if name else ()
        is_ascending = all(low < high for low, high in itertools.pairwise(found))
        if not (2 <= len(found) <= MAX_EDGES and is_ascending and max(map(abs, found)) <= LARGEST):
            raise click.BadParameter(
                f"{text!r}: a column and 2 to {MAX_EDGES} ascending numbers are allowed, like age=0,20,40,60"
            )
        edges[name] = found
    return edges


def _shares(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[float, ...]:
    shares = _numbers(text, "0.25,0.5,0.75") if text else ()
    if not all(0 <= share <= 1 for share in shares):
        raise click.BadParameter(f"{text!r}: shares from 0 to 1 are allowed, like 0.25,0.5,0.75")
    return shares


@click.command(cls=OneLineCommand, context_settings={"max_content_width": 110, "show_default": True})
@click.option("--clients", "num_clients", type=click.IntRange(1), default=_DEFAULTS["num_clients"], metavar="N",
              help="Clients to wait for; without a broker also how many to start here.")  # fmt: skip
@click.option("--broker", "broker_url", envvar=URL_VARIABLE, metavar="URL", show_default=False,
              help=f"Redis to use, or the operator's folder, whose clients are enrolled [env: {URL_VARIABLE}]. Without "
              f"it, or with {EMBEDDED!r}, a server and all clients are started here.")  # fmt: skip
@click.option("--workload", default=_DEFAULTS["workload"], metavar="NAME[,KEY=VALUE…]",
              help="The clients' workload, which has a method columns().")  # fmt: skip
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
              help="Folder with local clients' data, for workloads that need one.")  # fmt: skip
@click.option("--columns", default="", callback=lambda _context, _parameter, text: names(text), metavar="NAME[,NAME…]",
              show_default="all", help="Columns to tell of.")  # fmt: skip
@click.option("--bins", "num_bins", type=click.IntRange(1, MAX_EDGES - 1), default=Query().num_bins, metavar="N",
              help="Bins of a histogram, over three standard deviations on both sides of the mean.")  # fmt: skip
@click.option("--edges", multiple=True, callback=_edges, metavar="COLUMN=A,B,…", show_default="by --bins",
              help="Edges of a column's bins in place of these; may be given once a column.")  # fmt: skip
@click.option("--quantiles", "shares", default="0.25,0.5,0.75", callback=_shares, metavar="SHARE[,SHARE…]",
              help="Quantiles to tell, from the histogram.")  # fmt: skip
@click.option("--min-count", type=click.IntRange(1), default=DEFAULT_MIN_COUNT, metavar="N",
              help="Fewest values that a client tells of; CLIENT_MIN_COUNT is the client's own such number, and the "
              "larger one holds.")  # fmt: skip
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.json",
              help="File for all that is told, as JSON.")  # fmt: skip
@click.option("--wait-timeout", "wait_timeout_s", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              default=_DEFAULTS["wait_timeout_s"], help="How long to wait for enough clients.")  # fmt: skip
@click.option("--timeout", "timeout_s", type=click.FloatRange(0, MAX_TIMEOUT_S, min_open=True), metavar="SECONDS",
              default=300.0, help="How long a client may take.")  # fmt: skip
def main(broker_url: str | None, output: Path | None, data: Path | None, **options: Any) -> None:
    """Tell counts, means, variances, histograms, quantiles and missing values of what clients have.

    Only such statistics leave a client, and none of fewer values than --min-count.
    """
    query = Query(**{name: options.pop(name) for name in ("columns", "edges", "num_bins", "shares", "min_count")})
    settings = {**options, "data": str(data.absolute()) if data else None}
    try:
        if output is not None and not is_folder(output.absolute().parent):
            raise ConfigurationError(f"--output {output}: there is no folder {output.absolute().parent}")
        with connect_clients(None if broker_url == EMBEDDED else broker_url, **settings) as clients:
            statistics = ask_statistics(clients, query)
    except FederationError as error:
        click.echo(f"error: {readable(str(error))}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # the boundary: whatever it was, it is told in one line
        click.echo(f"error: {type(error).__name__}: {readable(str(error))}", err=True)
        sys.exit(1)
    show(statistics, Console())
    if output is not None:
        replace_text(output, statistics.model_dump_json(indent=2) + "\n", mode=None)
        click.echo(f"all of it is in {output}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
