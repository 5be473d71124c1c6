"""The command: ``python -m orchestrator.start``. Puts the pieces together and says what became of the run."""

from __future__ import annotations

import gc
import signal

if __name__ == "__main__":
    # Until there is a run that can be closed cleanly, Ctrl-C ends the process at once and without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()  # what is imported stays: to look through it for garbage, at the end again, takes a third of a second

import os
import shlex
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import click

from celeriac.aggregators import AGGREGATORS
from celeriac.algorithms import ALGORITHMS
from celeriac.compressors import COMPRESSORS, NONE
from celeriac.mixers import FORMS as MIX_FORMS
from celeriac.mixers import MIXERS
from celeriac.schedules import FORMS as FORMS_OF_SCHEDULES
from celeriac.selectors import FORMS, SELECTORS
from celeriac.workloads.nets import FORMS as FORMS_OF_NETS
from celeriac.workloads.nets import NETS, NORMS
from celeriac.workloads.splits import SPLITS
from orchestrator.config import PEERS, RunConfig
from orchestrator.cross_site_table import table_of
from orchestrator.driver.lifecycle import Signals, run_session
from orchestrator.observers import OBSERVERS
from orchestrator.opening import CHANGEABLE, WITH_RESUME, Opened, discard, open_new, runs_programs, shown_path, take_up
from orchestrator.options import GroupedCommand, GroupedOption, options_of
from orchestrator.policies import POLICIES
from orchestrator.store.facts import METRICS
from orchestrator.store.records import Summary
from orchestrator.store.run_folder import RunFolder
from orchestrator.study_file import read_study
from orchestrator.workload_options import WorkloadOptions
from tasks.broker.url import URL_VARIABLE
from tasks.described import counted, first_of
from tasks.errors import ConfigurationError, FederationError
from tasks.metrics import in_words
from tasks.option import OUTPUT, TRANSPORT
from tasks.protocol import installed_version
from tasks.readable import readable
from tasks.workload import BUILT_IN, DATA_SETS
from verification import SCORERS

EMBEDDED = "embedded"
"""What ``--broker`` says to have a server and clients started here although the environment names a broker."""
_KNOWN = {
    "workloads": BUILT_IN,
    "data_sets": DATA_SETS,
    "nets": [FORMS_OF_NETS.get(name, name) for name in NETS],
    "norms": NORMS,
    "splits": SPLITS,
    "algorithms": ALGORITHMS,
    "aggregators": AGGREGATORS,
    "mixers": [MIX_FORMS.get(name, name) for name in MIXERS],
    "compressors": [NONE, *COMPRESSORS],
    "selectors": [FORMS.get(name, name) for name in SELECTORS],
    "policies": POLICIES,
    "schedules": FORMS_OF_SCHEDULES.values(),
    "scorers": [PEERS, *SCORERS],
    "observers": OBSERVERS,
}
"""The names that the help lists."""
_MOST_SHOWN = 3
"""Metrics of the final model that the verdict names."""
_BROKER = GroupedOption(
    ["--broker"],
    group=TRANSPORT,
    metavar="URL",
    envvar=URL_VARIABLE,
    show_default=False,
    help=f"Redis to use, like redis://host:6379/0, or the operator's folder, whose clients are enrolled [env: "
    f"{URL_VARIABLE}, which keeps a password out of ps]. Without it, or with {EMBEDDED!r}, a server "
    "and all clients are started here.",
)
_RUN_DIR = GroupedOption(
    ["--run-dir"],
    group=OUTPUT,
    type=click.Path(path_type=Path),
    metavar="DIR",
    show_default="runs/<date>-<time>-<id>",
    help="Folder for the run's checkpoints, history and plot.",
)
_RESUME = GroupedOption(
    ["--resume"],
    group=OUTPUT,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Go on with the run in this folder, with its own settings, after its last closed round; with --rounds N it "
    "has N rounds in all; --stop-when, --patience, --keep, --observe and --log-format may be others, too.",
)
_ACCEPT_CHANGED_CODE = GroupedOption(
    ["--accept-changed-code"],
    group=OUTPUT,
    is_flag=True,
    help="With --resume: go on although the file of a workload, an algorithm or whatever else is your own has changed.",
)
_PAGE = GroupedOption(
    ["--page"],
    group=OUTPUT,
    is_flag=True,
    help="Show the run in a browser as long as it lasts, on this machine: the same as 'page' in --observe.",
)
_STUDY = click.Argument(["study"], type=click.Path(path_type=Path), required=False, metavar="[STUDY]")
_VERSION = click.Option(
    ["--version"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _parameter, is_asked: _say_version(context) if is_asked else None,
    help="Print the version, and end.",
)
_AFTER = {
    "num_clients": [_BROKER],
    "workload": [*options_of(WorkloadOptions, _KNOWN)],
    "seed": [_RUN_DIR, _RESUME, _ACCEPT_CHANGED_CODE],
    "observe": [_PAGE],
}
"""Options that are no fields of the config, each below the one after which the help lists it."""
_OPTIONS = [
    _STUDY,
    *(option for made in options_of(RunConfig, _KNOWN) for option in (made, *_AFTER.get(made.name or "", ()))),
    _VERSION,
]


@click.command(cls=GroupedCommand, params=_OPTIONS, context_settings={"max_content_width": 110, "show_default": True})
@click.pass_context
def main(context: click.Context, /, **options: Any) -> None:
    """Train one model over many clients whose data stays with them.

    With no options at all: two clients on this machine learn handwritten digits.

    STUDY is a file of options, study.toml or a run's config.json; options that are given here come before its own.

    With --broker, start clients on any machine that reaches it:

        CELERY_BROKER_URL=redis://host:6379/0 celery -A worker worker
    """
    given = [name for name in options if _is_given(context, name)]
    try:
        given += _take_in(options, given)
        given = _with_page(options, given)
        if options["broker"] == EMBEDDED:
            options["broker"] = None
        if options["accept_changed_code"] and not options["resume"]:
            raise ConfigurationError("--accept-changed-code goes with --resume: leave out --accept-changed-code")
        signals = Signals()  # held before there is a folder: whoever sees it may have the run end in good order
        opened = _taken_up(context, options, given) if options["resume"] else open_new(options, given, signals.hold)
    except FederationError as error:
        click.echo(f"error: {readable(str(error))}", err=True)
        sys.exit(error.exit_code)
    config, folder = opened.config, opened.folder
    with opened.lock:
        summary, exit_code = run_session(config, folder, options["broker"], signals)
        if exit_code == ConfigurationError.exit_code and not options["resume"] and not folder.has_rounds():
            discard(folder)
    say_verdict(config, summary, folder, exit_code)
    sys.exit(exit_code)


def _take_in(options: dict[str, Any], given: list[str]) -> list[str]:
    """Take in what the study's file says beside what is given; return the names of what is another than by default."""
    path: Path | None = options.pop("study")
    own = read_study(path) if path else {}
    for name in given:
        if isinstance(own.get(name), dict):  # settings by name: those that are given come before the file's
            options[name] = {**own[name], **options[name]}
    new = {name: value for name, value in own.items() if name not in given and value != options.get(name)}
    options.update(new)
    return list(new)


def _with_page(options: dict[str, Any], given: list[str]) -> list[str]:
    """Have the page among the observers if ``--page`` asks for it; return the names of what is given."""
    if not options.pop("page"):
        return given
    options["observe"] = tuple(dict.fromkeys((*options["observe"], "page")))
    return [*(name for name in given if name not in ("page", "observe")), "observe"]


def _taken_up(context: click.Context, options: dict[str, Any], given: list[str]) -> Opened:
    """Take a run up again, if no option was given that is its own to say."""
    wrong = [name for name in given if name not in WITH_RESUME]
    if wrong:
        flags = {parameter.name: parameter.opts[0] for parameter in context.command.params}
        raise ConfigurationError(
            f"--resume goes on with the run's own settings, but for {', '.join(flags[name] for name in CHANGEABLE)}: "
            f"leave out {', '.join(flags[name] for name in wrong)}"
        )
    return take_up(options, given)


def say_verdict(config: RunConfig, summary: Summary, folder: RunFolder, exit_code: int) -> None:
    """Say on standard output how good the model is, or on standard error what went wrong and how to go on."""
    try:
        _say(config, summary, folder, exit_code)
    except BrokenPipeError:  # nobody reads any longer (``| head``), which changes nothing of the run
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again at its end


def _say(config: RunConfig, summary: Summary, folder: RunFolder, exit_code: int) -> None:
    if summary.status == "completed":
        failed = f" ({summary.rounds_failed} of them failed)" if summary.rounds_failed else ""
        quality = _quality(summary, folder)
        click.echo(f"completed: {counted(summary.rounds, 'round')}{failed} in {summary.wall_time_s:.1f} s, {quality}")
        if summary.stopped:
            click.echo(f"ended early: {summary.stopped}")
        num_asked = summary.num_evaluated + summary.num_not_evaluated
        if num_asked:
            shown = in_words(
                summary.client_metrics, summary.client_partial, summary.num_evaluated, summary.client_spread
            )
            of_all = f" ({summary.num_evaluated} of {num_asked} clients)" if summary.num_not_evaluated else ""
            click.echo(f"on the clients' own held-out data{of_all}: {shown or 'nothing'}")
        if results := _results(folder):
            click.echo(f"results of all clients: {results}")
        for line in table_of(matrix, METRICS.of(folder)) if (matrix := folder.cross_site()) else ():
            click.echo(line)
        if summary.energy is not None:
            click.echo(summary.energy.said())
        click.echo(f"the run's folder: {shown_path(folder.path)}")
        return
    if summary.status == "failed":
        click.echo(f"error: {summary.reason}", err=True)
    else:
        click.echo(f"interrupted ({summary.reason}) with {counted(summary.rounds, 'round')} closed", err=True)
    if exit_code != ConfigurationError.exit_code or summary.rounds:
        click.echo(f"go on with: {_how_to_go_on(config, summary, folder)}", err=True)


def _how_to_go_on(config: RunConfig, summary: Summary, folder: RunFolder) -> str:
    """Return the command that takes a run up again; one all of whose rounds are over needs more of them."""
    broker = "" if config.local else " --broker URL"
    rounds = f" --rounds {2 * config.rounds}" if summary.rounds >= config.rounds else ""
    workload = f" --workload {shlex.quote(config.workload)}" if runs_programs(config.workload) else ""
    return f"python -m orchestrator.start --resume {shown_path(folder.path)}{broker}{rounds}{workload}"


def _quality(summary: Summary, folder: RunFolder) -> str:
    beside_loss = {name: value for name, value in summary.final.items() if name != "loss"}
    if metrics := beside_loss or summary.final:
        more = f" and {len(metrics) - _MOST_SHOWN} more" if len(metrics) > _MOST_SHOWN else ""
        return in_words(dict(islice(metrics.items(), _MOST_SHOWN))) + more
    if summary.evaluation_problem:
        return f"not evaluated: {summary.evaluation_problem}"
    has_failed_last = any(record.status == "failed" for record in folder.history()[-1:])
    return "the last of them failed" if has_failed_last else "no held-out data to evaluate on"


def _results(folder: RunFolder) -> str:
    """Return what became of the clients' results in the last round, where that is one number each, in words."""
    record = next(reversed(folder.history()), None)
    return first_of([in_words({name: value}) for name, value in record.single_results.items()]) if record else ""


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _say_version(context: click.Context) -> None:
    click.echo(f"celeriac {installed_version()}")
    context.exit()


if __name__ == "__main__":
    gc.freeze()
    gc.enable()
    main()
