"""The verdict: what the command says of a run when it has ended."""

from __future__ import annotations

import os
from pathlib import Path

import click

from orchestrator.config import RunConfig
from orchestrator.records import Summary
from orchestrator.run_folder import RunFolder
from tasks.errors import ConfigurationError


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


def shown_path(path: Path) -> str:
    """Return a path as it is shortest from here."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
