"""The command: ``python -m orchestrator.start``. Puts the pieces together and says what became of the run."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from orchestrator import plot
from orchestrator.algorithms import ALGORITHMS
from orchestrator.config import RunConfig
from orchestrator.events import Ended, Report
from orchestrator.federation import connect_run
from orchestrator.progress import progress
from orchestrator.records import Summary
from orchestrator.run import Run, summarise
from orchestrator.run_folder import RunFolder
from orchestrator.selectors import SELECTORS, load_selector
from tasks import broker as brokers
from tasks.errors import ConfigurationError, DataMissingError, FederationError
from tasks.loading import check_spec
from tasks.messages import TrainOptions
from tasks.workload import BUILT_IN

logger = logging.getLogger(__name__)

_DEFAULTS = RunConfig(run_id="")


class Interrupted(BaseException):
    """Raised in the main thread when a signal asks the orchestrator to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@click.command(context_settings={"max_content_width": 110, "show_default": True})
@click.option("--clients", "num_clients", type=click.IntRange(1), default=_DEFAULTS.num_clients, metavar="N",
              help="Clients to wait for before the first round; without a broker also how many to start here.")  # fmt: skip
@click.option("--broker", metavar="URL", envvar=brokers.URL_VARIABLE, show_default=False,
              help=f"Redis to use, like redis://host:6379/0 [env: {brokers.URL_VARIABLE}]. "
                   "Without it a server and all clients are started here.")  # fmt: skip
@click.option("--workload", default=_DEFAULTS.workload, metavar="NAME",
              help=f"What is trained: {', '.join(BUILT_IN)}, or your own as module:name.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR",
              help="Folder with the workload's data, for those that need one.")  # fmt: skip
@click.option("--algorithm", default=_DEFAULTS.algorithm, metavar="NAME",
              help=f"How updates become a model: {', '.join(ALGORITHMS)}, or your own as module:name.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=_DEFAULTS.rounds, metavar="N", help="Rounds to run.")
@click.option("--fraction", type=click.FloatRange(0, 1, min_open=True), default=_DEFAULTS.fraction, metavar="SHARE",
              help="Share of the connected clients that takes part in a round, rounded up.")  # fmt: skip
@click.option("--min-updates", type=click.IntRange(1), default=_DEFAULTS.min_updates, metavar="N",
              help="Updates that a round needs; with fewer the model stays as it was.")  # fmt: skip
@click.option("--select", default=_DEFAULTS.select, metavar="NAME",
              help=f"How a round's clients are chosen: {', '.join(SELECTORS)}, or your own as module:function.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=_DEFAULTS.options.epochs, metavar="N",
              help="Passes over its data that a client makes in a round.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(1), default=_DEFAULTS.options.batch_size, metavar="N",
              help="Examples in a training step.")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=_DEFAULTS.options.learning_rate,
              metavar="RATE", help="Learning rate of the clients.")  # fmt: skip
@click.option("--seed", type=int, default=_DEFAULTS.seed, metavar="N", help="Seed of all that is random.")
@click.option("--run-dir", type=click.Path(path_type=Path), metavar="DIR", show_default="runs/<date>-<time>-<id>",
              help="Folder for the run's checkpoints, history and plot.")  # fmt: skip
@click.option("--resume", type=click.Path(path_type=Path), metavar="DIR",
              help="Go on with the run in this folder, with its own settings, after its last closed round.")  # fmt: skip
@click.option("--wait-timeout", "wait_timeout_s", type=click.FloatRange(0, min_open=True),
              default=_DEFAULTS.wait_timeout_s, metavar="SECONDS", help="How long to wait for enough clients.")  # fmt: skip
@click.option("--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), default=_DEFAULTS.timeout_s,
              metavar="SECONDS", help="How long a client may train in a round; then it returns what it has.")  # fmt: skip
@click.option("--evaluate-clients/--no-evaluate-clients", default=_DEFAULTS.evaluate_clients,
              help="Have clients evaluate the final model on their own held-out data.")  # fmt: skip
@click.pass_context
def main(context: click.Context, **options: Any) -> None:
    """Train one model over many clients whose data stays with them.

    With no options at all: two clients on this machine learn handwritten digits.

    With --broker, start clients on any machine that reaches it:

        CELERY_BROKER_URL=redis://host:6379/0 celery -A worker worker
    """
    try:
        config, folder = _resumed(context, options) if options["resume"] else _new(options)
    except FederationError as error:
        _fail(error)
        return
    sys.exit(carry_out(config, folder, options["broker"]))


def carry_out(config: RunConfig, folder: RunFolder, broker_url: str | None) -> int:
    """Carry out a run, show it, and return the exit code."""
    started = time.monotonic()
    console = Console(stderr=True)
    with _logging(folder, console), progress(console) as report:
        _handle_signals()
        summary, exit_code = _run(config, folder, broker_url, report, started)
        report(Ended(summary, folder.path))
    _say_verdict(summary, folder, exit_code)
    return exit_code


def _run(
    config: RunConfig, folder: RunFolder, broker_url: str | None, report: Report, started: float
) -> tuple[Summary, int]:
    status, reason, exit_code = "completed", "", 0
    try:
        if len(folder.history()) < config.rounds:
            with connect_run(config, folder, broker_url) as wire:
                Run(config, folder, wire, report).run()
                wire.tidy()
        plot.draw(folder.history(), folder.path / "plot.png")
    except Interrupted as signalled:
        _ignore_signals()
        status, reason, exit_code = "interrupted", str(signalled), signalled.exit_code
    except FederationError as error:
        status, reason, exit_code = "failed", str(error), error.exit_code
    except Exception as error:  # the boundary: whatever it was, it is told in one line, and in the log in full
        logger.debug("the run failed", exc_info=True)
        status, reason, exit_code = "failed", f"{type(error).__name__}: {error}", 1
    _ignore_signals()
    summary = summarise(config, folder, status, reason, time.monotonic() - started)
    folder.save_summary(summary)
    return summary, exit_code


def _new(options: dict[str, Any]) -> tuple[RunConfig, RunFolder]:
    """Check the options and make the folder of a new run."""
    check_spec("workload", options["workload"], BUILT_IN)
    check_spec("algorithm", options["algorithm"], ALGORITHMS)
    load_selector(options["select"])
    _check_broker(options["broker"])
    run_id = f"{datetime.now().strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    config = RunConfig(
        run_id=run_id,
        data=_data_folder(options["data"]),
        options=TrainOptions(
            epochs=options["epochs"], batch_size=options["batch_size"], learning_rate=options["learning_rate"]
        ),
        **{name: options[name] for name in _SAME_NAME},
    )
    path: Path = options["run_dir"] or Path("runs") / run_id
    return config, RunFolder.create(path.absolute(), config)


_SAME_NAME = (
    "workload", "algorithm", "select", "num_clients", "rounds", "fraction", "min_updates", "seed",
    "wait_timeout_s", "timeout_s", "evaluate_clients",
)  # fmt: skip


def _resumed(context: click.Context, options: dict[str, Any]) -> tuple[RunConfig, RunFolder]:
    """Open the folder of a run that was begun; its own settings hold."""
    given = [name for name in options if name not in ("resume", "broker") and _is_given(context, name)]
    if given:
        flags = {parameter.name: parameter.opts[0] for parameter in context.command.params}
        raise ConfigurationError(
            f"--resume goes on with the run's own settings: leave out {', '.join(flags[name] for name in given)}"
        )
    _check_broker(options["broker"])
    folder = RunFolder.open(options["resume"].absolute())
    return folder.config(), folder


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _check_broker(url: str | None) -> None:
    if url is not None:
        brokers.check_url(url)
        brokers.check_reachable(url)


def _data_folder(folder: Path | None) -> str | None:
    if folder is None:
        return None
    if not folder.is_dir():
        raise DataMissingError(f"--data {folder}: there is no such folder")
    return str(folder.absolute())


def _fail(error: FederationError) -> None:
    click.echo(f"error: {error}", err=True)
    sys.exit(error.exit_code)


class _logging:  # noqa: N801  # used like a function
    """Logs to the run's folder, and to the console where it isn't a terminal."""

    def __init__(self, folder: RunFolder, console: Console) -> None:
        plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
        file = logging.FileHandler(folder.logs / "orchestrator.log", encoding="utf-8")
        file.setLevel(logging.DEBUG)
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        self._handlers: list[logging.Handler] = [file]
        if not console.is_terminal:
            stream = logging.StreamHandler(sys.stderr)
            stream.setLevel(logging.INFO)
            stream.setFormatter(plain)
            self._handlers.append(stream)

    def __enter__(self) -> None:
        for handler in self._handlers:
            logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(logging.INFO)
        logging.getLogger("orchestrator").setLevel(logging.DEBUG)

    def __exit__(self, *_: object) -> None:
        for handler in self._handlers:
            logging.getLogger().removeHandler(handler)
            handler.close()


def _handle_signals() -> None:
    def interrupt(number: int, _: object) -> None:
        _ignore_signals()
        raise Interrupted(number)

    _set_handlers(interrupt)


def _ignore_signals() -> None:
    """Let nothing interrupt the clean-up, which is bounded."""
    _set_handlers(signal.SIG_IGN)


def _set_handlers(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _say_verdict(summary: Summary, folder: RunFolder, exit_code: int) -> None:
    final = summary.final
    if summary.status == "completed":
        accuracy = f"accuracy {final.accuracy:.4f}" if final.accuracy is not None else "no held-out data to evaluate on"
        click.echo(f"completed: {summary.rounds} rounds in {summary.wall_time_s:.1f} s, {accuracy}")
        if summary.client_metrics:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in summary.client_metrics.items())
            click.echo(f"on the clients' own held-out data: {shown}")
        click.echo(f"the run's folder: {_shown(folder.path)}")
        return
    if summary.status == "failed":
        click.echo(f"error: {summary.reason}", err=True)
    else:
        click.echo(f"interrupted ({summary.reason}) with {summary.rounds} rounds closed", err=True)
    if exit_code != ConfigurationError.exit_code or summary.rounds:
        click.echo(f"go on with: python -m orchestrator.start --resume {_shown(folder.path)}", err=True)


def _shown(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)


if __name__ == "__main__":
    main()
