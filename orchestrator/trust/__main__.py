"""The command ``python -m orchestrator.trust``: makes the operator's folder, and says who may take part."""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.store.audit import problems
from orchestrator.store.run_folder import RunFolder
from orchestrator.trust import at_broker
from orchestrator.trust.admission import Admission
from orchestrator.trust.authority import Authority
from orchestrator.trust.clients import Client
from tasks.broker.url import DEFAULT_PORT, Broker
from tasks.command import telling_errors
from tasks.errors import ConfigurationError
from tasks.readable import readable
from tasks.trust.keys import fingerprint, read_public
from tasks.trust.papers import Request, package_in
from tasks.trust.signing import NotSignedError

_LOOK_S = 0.5
"""Seconds between two looks whether a client asks."""
_PATH = click.Path(path_type=Path)
_folder = click.argument("folder", metavar="DIR", type=_PATH)


@click.group()
def main() -> None:
    """Enrol clients, each with a credential of its own, and check what a run's audit trail tells.

    DIR is the operator's folder, which nobody else may read.
    """


@main.command()
@_folder
@click.option("--host", "hosts", multiple=True, required=True, help="Name or address of the broker; may be repeated.")
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="Its port.")
@click.option("--keep", is_flag=True, help="If DIR was made before, leave it as it is.")
@telling_errors
def init(folder: Path, hosts: tuple[str, ...], port: int, keep: bool) -> None:
    """Make DIR: an authority, the orchestrator's keys, and a configuration with which the broker can be started."""
    if keep and Authority.is_at(folder):
        Authority(folder).write_users()
        click.echo(f"{folder} is there already")
        return
    url = f"rediss://{_in_url(hosts[0])}:{port}/0"
    Broker.read(url)
    made = Authority.make(folder, url, hosts, port)
    click.echo(f"the orchestrator's fingerprint: {fingerprint(made.key)}")
    click.echo(f"start the broker: redis-server {made.broker / 'redis.conf'}")


def _in_url(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host


@main.command()
@_folder
@click.argument("request", type=_PATH)
@click.option("--fingerprint", "expected", metavar="F", help="What its site read out; without it you are asked.")
@click.option("--output", type=_PATH, help="The package.  [default: ID.package.json]")
@telling_errors
def approve(folder: Path, request: Path, expected: str | None, output: Path | None) -> None:
    """Let the client of REQUEST in, and write the package that its site is to accept."""
    authority, asked = Authority(folder), Request.read(request)
    _confirm(asked, expected)
    client = authority.approve(asked)
    _hand_over(authority, client, output)


def _confirm(request: Request, expected: str | None) -> None:
    """Have the operator compare the fingerprint.

    Raises:
        ConfigurationError: If it isn't the one that is expected, or nobody says that it is right.
    """
    found = fingerprint(read_public(request.key))
    click.echo(f"{request.named}: its fingerprint is {found}")
    if expected is None:
        if not _is_confirmed("Did its site read out the same?"):
            raise ConfigurationError(f"client {request.client_id} wasn't let in")
    elif expected.strip().upper() != found:
        raise ConfigurationError(f"{expected!r:.80} isn't its fingerprint: the request may be somebody else's")


def _is_confirmed(question: str) -> bool:
    try:
        return click.confirm(question)
    except click.Abort:
        raise ConfigurationError("nobody answered: --fingerprint F says what the site read out") from None


def _hand_over(authority: Authority, client: Client, output: Path | None) -> None:
    path, own = output or package_in(Path(), client.client_id), fingerprint(authority.key)
    authority.package(client).save(path, authority.key)
    if why := at_broker.tell(authority, renewed=(client.client_id,)):
        _say_untold(authority, why)
    click.echo(f"{client.named} is enrolled until {client.until:%Y-%m-%d}")
    click.echo(f"give its site {path}, which holds no secret, and the orchestrator's fingerprint: {own}")


def _say_untold(authority: Authority, why: str) -> None:
    click.echo(f"the broker doesn't know yet ({why}): it will when it is started with {authority.users}", err=True)


@main.command()
@_folder
@click.option("--requests", required=True, type=_PATH, help="Folder in which clients put what they ask.")
@click.option("--packages", required=True, type=_PATH, help="Folder in which they find the answer, and only read.")
@telling_errors
def admit(folder: Path, requests: Path, packages: Path) -> None:
    """Let in every client that asks in a folder, until it is stopped: nobody compares fingerprints.

    Whoever can write there is in. It is for clients of one machine; docker-compose.yml has it.
    """
    admission, said = Admission(Authority(folder), requests, packages), ""
    while True:
        for line in admission.look():
            if line != said:
                click.echo(readable(line))
            said = line
        time.sleep(_LOOK_S)


@main.command()
@_folder
@click.argument("client_id", metavar="ID")
@click.option("--output", type=_PATH, help="The package.  [default: ID.package.json]")
@telling_errors
def renew(folder: Path, client_id: str, output: Path | None) -> None:
    """Let client ID go on for another year with the key that it has, and write a new package."""
    authority = Authority(folder)
    former = authority.find(client_id)
    if former.status != "enrolled":
        raise ConfigurationError(f"client {client_id} was revoked: approve a new request of its site")
    asked = Request.model_validate(former.model_dump(include=set(Request.model_fields)))
    _hand_over(authority, authority.approve(asked), output)


@main.command("list")
@_folder
@telling_errors
def list_clients(folder: Path) -> None:
    """List the clients that are or were enrolled."""
    rows = [("client", "clients", "standing", "until", "fingerprint")]
    for client in Authority(folder).clients.all():
        until, count = f"{client.until:%Y-%m-%d}", str(client.count or 1)
        rows.append((client.client_id, count, client.standing, until, fingerprint(client.public_key)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@main.command()
@_folder
@click.argument("client_id", metavar="ID")
@telling_errors
def revoke(folder: Path, client_id: str) -> None:
    """Let client ID take part no longer, in a run that is on neither."""
    authority = Authority(folder)
    client = authority.revoke(client_id)
    if why := at_broker.tell(authority):
        _say_untold(authority, why)
    click.echo(f"{client.named} was revoked: no answer of its counts any more")


@main.command()
@_folder
@click.argument("run", metavar="RUN", type=_PATH)
@telling_errors
def audit(folder: Path, run: Path) -> None:
    """Check the audit trail in the run's folder RUN; exit code 1 if anything is wrong with it."""
    authority = Authority(folder)

    def key_of(client_id: str) -> Ed25519PublicKey:
        client = authority.clients.find(client_id)
        if client is None:
            raise NotSignedError(f"client {client_id} was never enrolled")
        return client.public_key

    found = list(problems(RunFolder(run), authority.key.public_key(), key_of))
    for problem in found:
        click.echo(readable(problem), err=True)
    if found:
        raise SystemExit(1)
    click.echo(f"{run}: each update that went into a model was signed by its client, and the trail is whole")


if __name__ == "__main__":
    main()
