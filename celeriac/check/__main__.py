"""The command ``python -m celeriac.check``: tries a workload in this process, and says what will fail."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from celeriac.check import Finding, Trial, try_workload
from tasks.errors import ConfigurationError
from tasks.plugins import check_spec
from tasks.readable import readable
from tasks.run_config import RunSettings, parse_run_config
from tasks.spec import WorkloadSpec
from tasks.workload import BUILT_IN

_WIDTH = 20


@click.command(context_settings={"max_content_width": 110, "show_default": True})
@click.argument("workload", metavar="NAME[,KEY=VALUE…]")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Folder with the workload's data, a client's and the orchestrator's.",
)
@click.option("--run-config", default="", metavar="NAME=VALUE[,…]", help="The study's own settings.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    metavar="SECONDS",
    help="Time that a call of a method may take.",
)
def main(workload: str, data: Path | None, run_config: str, timeout_s: float) -> None:
    """Try what a run asks of a workload, as my_study:MyStudy, in this process, and say what will fail.

    The exit code is 0 if nothing was found, 1 if something was, and 2 if the call itself is wrong.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a KeyboardInterrupt is the workload's own from here on
    try:
        spec = WorkloadSpec.parse(workload)
        check_spec("workload", spec.name, BUILT_IN)
        settings = TypeAdapter(RunSettings).validate_python(parse_run_config(run_config) if run_config else {})
    except (ConfigurationError, ValidationError) as error:
        click.echo(f"error: {readable(str(error))}", err=True)
        sys.exit(2)
    started, num_found = time.perf_counter(), 0
    for said in try_workload(Trial(str(spec), data, settings, timeout_s)):
        if isinstance(said, Finding):
            num_found += 1
            click.echo(f"{'WILL FAIL':{_WIDTH}}{said.text}")
        else:
            click.echo(f"{said.method:{_WIDTH}}{said.text}")
    took_s = time.perf_counter() - started
    found = (
        "nothing found that would fail"
        if not num_found
        else f"{num_found} {'finding' if num_found == 1 else 'findings'}"
    )
    click.echo(f"{spec}: {found}, in {took_s:.1f} s")
    sys.exit(1 if num_found else 0)


if __name__ == "__main__":
    main()
