"""The command ``python -m worker.enrol``: a site asks to take part, and accepts what the operator gives it.

The site's key and its password at the broker are made here and stay here: the request tells the public key, and the
password's digest.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from tasks.command import telling_errors
from tasks.errors import ConfigurationError
from tasks.names import check_client_id
from tasks.trust.enrolment import Enrolment
from tasks.trust.keys import fingerprint, read_public
from tasks.trust.papers import MAX_CLIENTS, Package
from worker.policy.default import write_default
from worker.settings import DEFAULT_WORKLOAD, enrolment_folder

_folder = click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    envvar="CLIENT_ENROLMENT",
    help="The enrolment's folder [env: CLIENT_ENROLMENT]; by default `enrolment` in that of CLIENT_STATE.",
)


@click.group()
def main() -> None:
    """Enrol this site's client, or its worker of many clients, with a federation."""


@main.command()
@click.option("--id", "client_id", metavar="ID", required=True, help="The client's; with --count how all begin.")
@click.option("--count", type=click.IntRange(1, MAX_CLIENTS), help="How many clients the worker serves.")
@_folder
@click.option("--output", type=click.Path(path_type=Path), help="The request.  [default: ID.request.json]")
@telling_errors
def request(client_id: str, count: int | None, folder: Path | None, output: Path | None) -> None:
    """Make this site's key, if it has none, and write a request for the operator."""
    check_client_id(client_id)
    made = Enrolment.make(folder or enrolment_folder(os.environ))
    path = output or Path(f"{client_id}.request.json")
    made.request(client_id, count).save(path, made.key)
    click.echo(f"the fingerprint to read out to the operator: {fingerprint(made.key)}")
    click.echo(f"give the operator {path}, which holds no secret; what is in {made.folder} stays here")


@main.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--fingerprint", "expected", metavar="F", help="The orchestrator's, as the operator read it out.")
@_folder
@telling_errors
def accept(package: Path, expected: str | None, folder: Path | None) -> None:
    """Accept the operator's PACKAGE: from then on this site's client carries out this orchestrator's orders alone."""
    given = Package.read(package)
    found = fingerprint(read_public(given.orchestrator))
    if expected is not None and expected.strip().upper() != found:
        raise ConfigurationError(f"{expected!r:.80} isn't the orchestrator's fingerprint: the package may be another's")
    own = Enrolment(folder or enrolment_folder(os.environ))
    if expected is None and own.is_accepted and own.orchestrator != given.orchestrator:
        raise ConfigurationError(
            f"{package}: it is from another orchestrator ({found}) than the one whose orders this site carries out: if "
            "that is meant, say so by --fingerprint"
        )
    own.accept(package)
    written = write_default(own.folder, found, os.environ.get("CLIENT_WORKLOAD") or DEFAULT_WORKLOAD)
    click.echo(f"{given.named} is enrolled until {given.until:%Y-%m-%d} at {given.broker}")
    compare = "" if expected else "; compare it with what the operator reads out"
    click.echo(f"the orchestrator's fingerprint: {found}{compare}")
    if written:
        click.echo(f"what this site takes part in and tells is in {written}: read it, and change what isn't right")
    click.echo("start the client: celery -A worker worker")


if __name__ == "__main__":
    main()
