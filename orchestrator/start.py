"""The command: ``python -m orchestrator.start``. Puts the pieces together and says what became of the run."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    # Until there is a run that can be closed cleanly, Ctrl-C ends the process at once and without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
from pathlib import Path
from typing import Any

import click

from celeriac.aggregators import AGGREGATORS
from celeriac.algorithms import ALGORITHMS
from celeriac.compressors import COMPRESSORS, NONE
from celeriac.mixers import FORMS as MIX_FORMS
from celeriac.mixers import MIXERS
from orchestrator.clients.selectors import FORMS, SELECTORS
from orchestrator.config import PEERS, RunConfig
from orchestrator.driver.lifecycle import run_session
from orchestrator.opening import WITH_RESUME, Opened, discard, open_new, shown_path, take_up
from orchestrator.store.records import Summary
from orchestrator.store.run_folder import RunFolder
from tasks.broker import connection as brokers
from tasks.errors import ConfigurationError, FederationError
from tasks.workload import BUILT_IN
from verification import SCORERS

EMBEDDED = "embedded"
"""What ``--broker`` says to have a server and clients started here although the environment names a broker."""
_DEFAULTS = RunConfig(run_id="defaults")
_SEVERAL: dict[str, Any] = {
    "callback": lambda _context, _parameter, value: _names(value),
    "metavar": "NAME[,NAME…]",
    "default": "",
}
"""What options have in common that take several names."""


class _InOneLine(click.Command):
    """A command that says of a wrong option, too, one line that begins with ``error: ``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            click.echo(f"error: {' '.join(error.format_message().split())}", err=True)
            ctx.exit(ConfigurationError.exit_code)


@click.command(cls=_InOneLine, context_settings={"max_content_width": 110, "show_default": True})
@click.option(
    "--clients",
    "num_clients",
    type=click.IntRange(1),
    default=_DEFAULTS.num_clients,
    metavar="N",
    help="Clients to wait for before the first round; without a broker also how many to start here.",
)
@click.option(
    "--broker",
    metavar="URL",
    envvar=brokers.URL_VARIABLE,
    show_default=False,
    help=f"Redis to use, like redis://host:6379/0 [env: {brokers.URL_VARIABLE}]. "
    f"Without it, or with {EMBEDDED!r}, a server and all clients are started here.",
)
@click.option(
    "--workload",
    default=_DEFAULTS.workload,
    metavar="NAME[,KEY=VALUE…]",
    help=f"What is trained: {', '.join(BUILT_IN)}, or your own as module:name; with parameters, if it has any.",
)
@click.option(
    "--net",
    metavar="NAME",
    show_default="the workload's own",
    help="Short for the parameter net in --workload: what model is trained, like 2nn or cnn.",
)
@click.option(
    "--split",
    metavar="NAME[:PARAMETER]",
    show_default="the workload's own",
    help="Short for the parameter split in --workload: how data is shared out among the clients, like dirichlet:0.1.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with the workload's data, for those that need one.",
)
@click.option(
    "--algorithm",
    default=_DEFAULTS.algorithm,
    metavar="NAME",
    help=f"How updates become a model: {', '.join(ALGORITHMS)}, or your own as module:name.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=lambda _context, _parameter, values: _settings(values),
    metavar="NAME=VALUE",
    show_default="the algorithm's own",
    help="A hyperparameter of the algorithm, like mu=0.01 for fedprox; may be given more than once.",
)
@click.option(
    "--aggregator",
    default=_DEFAULTS.aggregator,
    metavar="NAME",
    help=f"How updates become one: {', '.join(AGGREGATORS)}, or your own as module:function. All but mean stand some "
    "that are hostile.",
)
@click.option(
    "--trim",
    type=click.FloatRange(0, 0.5, max_open=True),
    default=_DEFAULTS.trim,
    metavar="SHARE",
    help="Share of the values that trimmed_mean cuts off at each end, rounded down.",
)
@click.option(
    "--mix",
    **_SEVERAL,
    show_default="none",
    help="How updates are mixed before they are aggregated, step by step: "
    f"{', '.join(MIX_FORMS.get(name, name) for name in MIXERS)}, or your own as module:function. Robust aggregators "
    "stand more of what is mixed by nnm.",
)
@click.option(
    "--compression",
    default=_DEFAULTS.compression,
    metavar="NAME[:PARAMETER]",
    help=f"How models and updates travel: {', '.join([NONE, *COMPRESSORS])}, or your own as module:name. bf16 halves, "
    "int8 quarters both; topk:0.01 makes updates 1 % as long, and leaves the model as it is.",
)
@click.option("--rounds", type=click.IntRange(1), default=_DEFAULTS.rounds, metavar="N", help="Rounds to run.")
@click.option(
    "--fraction",
    type=click.FloatRange(0, 1, min_open=True),
    default=_DEFAULTS.fraction,
    metavar="SHARE",
    help="Share of the connected clients that takes part in a round, rounded up.",
)
@click.option(
    "--cohort",
    type=click.IntRange(1),
    metavar="N",
    show_default="by --fraction",
    help="In place of --fraction: how many clients take part in a round. It waits for as many, and takes in no more.",
)
@click.option(
    "--min-updates",
    type=click.IntRange(1),
    default=_DEFAULTS.min_updates,
    metavar="N",
    help="Updates that a round needs; with fewer the model stays as it was.",
)
@click.option(
    "--select",
    default=_DEFAULTS.select,
    metavar="NAME",
    help=f"How a round's clients are chosen: {', '.join(FORMS.get(name, name) for name in SELECTORS)}, or your own as "
    "module:function. CONDITIONS are like labels=3+7,min-examples=100,min-cpus=4,min-memory-gb=8.",
)
@click.option(
    "--accept",
    type=click.Choice(["live", "next", "closed"]),
    default=_DEFAULTS.accept,
    help="Whether clients that join later take part at once, from the next round on, or never.",
)
@click.option(
    "--verify",
    **_SEVERAL,
    show_default="none",
    help=f"How updates are judged before they are aggregated: {', '.join([PEERS, *SCORERS])}, or your own as "
    "module:function. Malformed updates are always rejected.",
)
@click.option(
    "--threshold",
    **{**_SEVERAL, "metavar": "T[,T…]"},
    show_default="each scorer's own",
    help="The least score that is kept, for all scorers or one each: a number, global-0.05 (relative to the current "
    "model's), or mad:3 (no outlier by median and MAD).",
)
@click.option(
    "--num-byzantine",
    type=click.IntRange(0),
    default=_DEFAULTS.num_byzantine,
    metavar="N",
    help="How many clients of a cohort may be hostile: for the scorer krum, the threshold best:n-f, and aggregators, "
    "which with 0 stand as many as they can.",
)
@click.option(
    "--weighting",
    type=click.Choice(["examples", "steps"]),
    default=_DEFAULTS.weighting,
    help="Whether an update that was cut short counts by its examples alone, or normalised by its steps (FedNova).",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=_DEFAULTS.options.epochs,
    metavar="N",
    help="Passes over its data that a client makes in a round.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=_DEFAULTS.options.batch_size,
    metavar="N",
    help="Examples in a training step.",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=_DEFAULTS.options.learning_rate,
    metavar="RATE",
    help="Learning rate of the clients.",
)
@click.option(
    "--initial-model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    show_default="the workload's own",
    help="Start from the model in this safetensors file, like a checkpoint of another run.",
)
@click.option("--seed", type=int, default=_DEFAULTS.seed, metavar="N", help="Seed of all that is random.")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    show_default="runs/<date>-<time>-<id>",
    help="Folder for the run's checkpoints, history and plot.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Go on with the run in this folder, with its own settings, after its last closed round; with --rounds N it "
    "has N rounds in all.",
)
@click.option(
    "--wait-timeout",
    "wait_timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=_DEFAULTS.wait_timeout_s,
    metavar="SECONDS",
    help="How long to wait for enough clients.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=_DEFAULTS.timeout_s,
    metavar="SECONDS",
    help="How long a client may train in a round; then it returns what it has.",
)
@click.option(
    "--in-flight-mb",
    type=click.FloatRange(0, min_open=True),
    default=_DEFAULTS.in_flight_mb,
    metavar="MB",
    help="How much of updates may be on its way through the broker at a time, on slow lines sixteen times as much; "
    "two updates may in any case, on slow lines eight.",
)
@click.option(
    "--evaluate-every",
    type=click.IntRange(min=1),
    default=_DEFAULTS.evaluate_every,
    metavar="ROUNDS",
    help="Evaluate the model on held-out data every so many rounds, and after the last.",
)
@click.option(
    "--evaluate-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=_DEFAULTS.evaluate_share,
    help="Share of the held-out examples, drawn by the seed, to evaluate the model on.",
)
@click.option(
    "--evaluate-clients/--no-evaluate-clients",
    default=_DEFAULTS.evaluate_clients,
    help="Have clients evaluate the final model on their own held-out data.",
)
@click.option(
    "--reconnect-after",
    "reconnect_after_s",
    type=click.FloatRange(0),
    default=_DEFAULTS.reconnect_after_s,
    metavar="SECONDS",
    help="When the run is over clients come back after so many seconds, for the next; with 0 their workers end.",
)
@click.pass_context
def main(context: click.Context, /, **options: Any) -> None:
    """Train one model over many clients whose data stays with them.

    With no options at all: two clients on this machine learn handwritten digits.

    With --broker, start clients on any machine that reaches it:

        CELERY_BROKER_URL=redis://host:6379/0 celery -A worker worker
    """
    if options["broker"] == EMBEDDED:
        options["broker"] = None
    given = [name for name in options if _is_given(context, name)]
    try:
        opened = _taken_up(context, options, given) if options["resume"] else open_new(options, given)
    except FederationError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    config, folder = opened.config, opened.folder
    with opened.lock:
        summary, exit_code = run_session(config, folder, options["broker"])
        if exit_code == ConfigurationError.exit_code and not options["resume"] and not folder.has_rounds():
            discard(folder)
    say_verdict(config, summary, folder, exit_code)
    sys.exit(exit_code)


def _taken_up(context: click.Context, options: dict[str, Any], given: list[str]) -> Opened:
    """Take a run up again, if no option was given that is its own to say."""
    wrong = [name for name in given if name not in WITH_RESUME]
    if wrong:
        flags = {parameter.name: parameter.opts[0] for parameter in context.command.params}
        raise ConfigurationError(
            "--resume goes on with the run's own settings, but for --rounds: "
            f"leave out {', '.join(flags[name] for name in wrong)}"
        )
    return take_up(options, given)


def say_verdict(config: RunConfig, summary: Summary, folder: RunFolder, exit_code: int) -> None:
    """Say on standard output how good the model is, or on standard error what went wrong and how to go on."""
    if summary.status == "completed":
        failed = f" ({summary.rounds_failed} of them failed)" if summary.rounds_failed else ""
        click.echo(f"completed: {summary.rounds} rounds{failed} in {summary.wall_time_s:.1f} s, {_quality(summary)}")
        num_asked = summary.num_evaluated + summary.num_not_evaluated
        if num_asked:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in summary.client_metrics.items())
            of_all = f" ({summary.num_evaluated} of {num_asked} clients)" if summary.num_not_evaluated else ""
            click.echo(f"on the clients' own held-out data{of_all}: {shown or 'nothing'}")
        click.echo(f"the run's folder: {shown_path(folder.path)}")
        return
    if summary.status == "failed":
        click.echo(f"error: {summary.reason}", err=True)
    else:
        click.echo(f"interrupted ({summary.reason}) with {summary.rounds} rounds closed", err=True)
    if exit_code != ConfigurationError.exit_code or summary.rounds:
        click.echo(f"go on with: {_how_to_go_on(config, summary, folder)}", err=True)


def _how_to_go_on(config: RunConfig, summary: Summary, folder: RunFolder) -> str:
    """Return the command that takes a run up again; one all of whose rounds are over needs more of them."""
    broker = "" if config.local else " --broker URL"
    rounds = f" --rounds {2 * config.rounds}" if summary.rounds >= config.rounds else ""
    return f"python -m orchestrator.start --resume {shown_path(folder.path)}{broker}{rounds}"


def _quality(summary: Summary) -> str:
    if summary.final.accuracy is not None:
        return f"accuracy {summary.final.accuracy:.4f}"
    if summary.final.loss is not None:
        return f"loss {summary.final.loss:.4f}"
    if summary.evaluation_problem:
        return f"not evaluated: {summary.evaluation_problem}"
    return "the last of them failed" if summary.rounds_failed else "no held-out data to evaluate on"


def _settings(values: tuple[str, ...]) -> dict[str, float]:
    """Return what ``--set`` says."""
    settings = {}
    for text in values:
        name, _, value = text.partition("=")
        try:
            settings[name.strip()] = float(value)
        except ValueError:
            raise click.BadParameter(f"{text!r}: write a name and a number, like mu=0.01") from None
    return settings


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


if __name__ == "__main__":
    main()
