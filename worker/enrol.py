"""The command ``python -m worker.enrol``: a site asks to take part, and accepts what the operator gives it.

The site's key and its password at the broker are made here and stay here: the request tells the public key, and the
password's digest.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from tasks.command import telling_errors
from tasks.errors import ConfigurationError, NotAnsweredError
from tasks.trust.enrolment import Enrolment
from tasks.trust.keys import fingerprint, read_public
from tasks.trust.papers import MAX_CLIENTS, Package, package_in, request_in
from worker.policy.default import write_default
from worker.settings import DEFAULT_WORKLOAD, check_own_id, enrolment_folder

_PATH = click.Path(path_type=Path)
_COUNT = click.IntRange(1, MAX_CLIENTS)
_LOOK_S = 0.2
"""Seconds between two looks whether a request was answered."""
_OF_KEY = 8
"""Letters and digits that a client's id has of the fingerprint of its key, if nobody names it."""
_folder = click.option(
    "--folder",
    metavar="DIR",
    type=_PATH,
    envvar="CLIENT_ENROLMENT",
    help="The enrolment's folder [env: CLIENT_ENROLMENT]; by default `enrolment` in that of CLIENT_STATE.",
)


@click.group()
def main() -> None:
    """Enrol this site's client, or its worker of many clients, with a federation."""


@main.command()
@click.option("--id", "client_id", metavar="ID", required=True, help="The client's; with --count how all begin.")
@click.option("--count", type=_COUNT, help="How many clients the worker serves.")
@_folder
@click.option("--output", type=_PATH, help="The request.  [default: ID.request.json]")
@telling_errors
def request(client_id: str, count: int | None, folder: Path | None, output: Path | None) -> None:
    """Make this site's key, if it has none, and write a request for the operator."""
    check_own_id(client_id)
    made = Enrolment.make(folder or enrolment_folder(os.environ))
    path = output or request_in(Path(), client_id)
    made.request(client_id, count).save(path, made.key)
    click.echo(f"the fingerprint to read out to the operator: {fingerprint(made.key)}")
    click.echo(f"give the operator {path}, which holds no secret; what is in {made.folder} stays here")


@main.command()
@click.argument("package", type=_PATH)
@click.option("--fingerprint", "expected", metavar="F", help="The orchestrator's, as the operator read it out.")
@_folder
@telling_errors
def accept(package: Path, expected: str | None, folder: Path | None) -> None:
    """Accept the operator's PACKAGE: from then on this site's client carries out this orchestrator's orders alone."""
    own = Enrolment(folder or enrolment_folder(os.environ))
    found = _accept(own, package, expected)
    compare = "" if expected else "; compare it with what the operator reads out"
    click.echo(f"the orchestrator's fingerprint: {found}{compare}")
    _begin_policy(own, found)
    click.echo("start the client: celery -A worker worker")


def _accept(own: Enrolment, package: Path, expected: str | None = None) -> str:
    """Accept a package, and return the orchestrator's fingerprint.

    Raises:
        ConfigurationError: If it isn't this client's, or not of the orchestrator that is expected, or known.
    """
    given = Package.read(package)
    found = fingerprint(read_public(given.orchestrator))
    if expected is not None and expected.strip().upper() != found:
        raise ConfigurationError(f"{expected!r:.80} isn't the orchestrator's fingerprint: the package may be another's")
    if expected is None and own.is_accepted and own.orchestrator != given.orchestrator:
        raise ConfigurationError(
            f"{package}: it is from another orchestrator ({found}) than the one whose orders this site carries out: if "
            "that is meant, say so by --fingerprint"
        )
    own.accept(package)
    click.echo(f"{given.named} is enrolled until {given.until:%Y-%m-%d} at {given.broker}")
    return found


def _begin_policy(own: Enrolment, orchestrator: str) -> None:
    written = write_default(own.folder, orchestrator, os.environ.get("CLIENT_WORKLOAD") or DEFAULT_WORKLOAD)
    if written:
        click.echo(f"what this site takes part in and tells is in {written}: read it, and change what isn't right")


@main.command()
@click.option("--id", "client_id", metavar="ID", envvar="CLIENT_ID", help="[env: CLIENT_ID; default: made of its key]")
@click.option("--count", type=_COUNT, envvar="CLIENT_COUNT", help="As for a request. [env: CLIENT_COUNT]")
@_folder
@click.option("--requests", required=True, type=_PATH, help="The folder in which the operator finds requests.")
@click.option("--packages", required=True, type=_PATH, help="The folder in which it puts packages.")
@click.option("--patience", type=click.FloatRange(0), default=60, show_default=True, help="Seconds to wait for it.")
@telling_errors
def ask(
    client_id: str | None, count: int | None, folder: Path | None, requests: Path, packages: Path, patience: float
) -> None:
    """Request and accept in one, where `orchestrator.trust admit` lets in who asks; nothing to do if it has.

    The orchestrator is whoever can write in PACKAGES: it is for clients of one machine.
    """
    own = Enrolment.make(folder or enrolment_folder(os.environ))
    name = check_own_id(client_id or f"client-{fingerprint(own.key).replace('-', '')[:_OF_KEY].lower()}")
    if not _answers(own, own.package_path, name, count):
        own.request(name, count).save(request_in(requests, name), own.key)
        _accept(own, _await(own, package_in(packages, name), name, count, patience))
    if not os.environ.get("CLIENT_POLICY"):
        _begin_policy(own, fingerprint(read_public(own.orchestrator)))


def _await(own: Enrolment, package: Path, client_id: str, count: int | None, patience_s: float) -> Path:
    latest = time.monotonic() + patience_s
    while not _answers(own, package, client_id, count):
        if time.monotonic() > latest:
            raise NotAnsweredError(f"{package}: nobody has answered {client_id}'s request within {patience_s:g} s")
        time.sleep(_LOOK_S)
    return package


def _answers(own: Enrolment, package: Path, client_id: str, count: int | None) -> bool:
    """Say whether a file is a package for this client that isn't over."""
    try:
        given = Package.read(package)
        own.check(given, package)
    except ConfigurationError:
        return False
    return (given.client_id, given.count) == (client_id, count)


if __name__ == "__main__":
    main()
