"""Admission without an operator: of the clients of one machine, which ask in a folder that nobody else can write.

What they are given lies in another folder, which they only read: else one could hand another a package of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from orchestrator.trust import at_broker
from orchestrator.trust.authority import Authority
from orchestrator.trust.clients import Client
from tasks.errors import ConfigurationError
from tasks.files import is_folder
from tasks.trust.papers import Request, package_in, requests_in

MOST = 1000
"""Clients that are let in: who may write requests can't fill the operator's folder."""


class Admission:
    """Lets in whoever asks, unless it was revoked.

    Args:
        authority: Whose clients they become.
        requests: The folder in which they ask.
        packages: The folder in which they find the answer.

    Raises:
        ConfigurationError: If one of these folders isn't there.
    """

    def __init__(self, authority: Authority, requests: Path, packages: Path) -> None:
        for folder in (requests, packages):
            if not is_folder(folder):
                raise ConfigurationError(f"{folder}: there is no such folder")
        self._authority = authority
        self._requests = requests
        self._packages = packages

    def look(self) -> Iterator[str]:
        """Answer the requests that are there, and yield a line on each.

        As long as the broker can't be told of a client, its request stays.

        Raises:
            ConfigurationError: If a package can't be written.
        """
        let_in: dict[Path, Client] = {}
        for path in requests_in(self._requests):
            try:
                let_in[path] = self._admit(path)
            except ConfigurationError as error:
                _remove(path)
                yield f"refused: {error}"
        if let_in and (why := at_broker.tell(self._authority)):
            yield f"the broker doesn't know yet of clients that ask: {why}"
            return
        for path, client in let_in.items():
            self._authority.package(client).save(package_in(self._packages, client.client_id), self._authority.key)
            _remove(path)
            yield f"{client.named} is enrolled until {client.until:%Y-%m-%d}"

    def _admit(self, path: Path) -> Client:
        request, known = Request.read(path), list(self._authority.clients.all())
        if any(client.status == "revoked" for client in known if _is_of(request, client)):
            raise ConfigurationError(f"client {request.client_id} was revoked")
        if len(known) >= MOST and self._authority.clients.named(request.client_id) is None:
            raise ConfigurationError(f"client {request.client_id}: {MOST} clients were let in, no more are")
        return self._authority.approve(request)


def _is_of(request: Request, client: Client) -> bool:
    """Say whether a client may be the one that asks: by its key, or by its id, of which another key may be had."""
    return request.key == client.key or request.client_id == client.client_id


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
