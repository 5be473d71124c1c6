"""The clients that are enrolled: a file each in the operator's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import AwareDatetime, ValidationError

from tasks.errors import ConfigurationError
from tasks.files import make_private, replace_text
from tasks.names import numbered_client_id, numbered_client_ids
from tasks.trust.keys import read_public
from tasks.trust.papers import Request
from tasks.trust.signing import NotSignedError


class Client(Request):
    """What is kept of a client, or of a worker of many: what it asked for, and what became of it."""

    approved: AwareDatetime
    until: AwareDatetime
    status: Literal["enrolled", "revoked"] = "enrolled"

    @property
    def standing(self) -> str:
        """What the client is now, in a word."""
        return "expired" if self.status == "enrolled" and self.until <= datetime.now(UTC) else self.status

    @cached_property
    def public_key(self) -> Ed25519PublicKey:
        """Its key."""
        return read_public(self.key)

    @property
    def ids(self) -> list[str]:
        """The ids of all clients that it stands for."""
        if self.count is None:
            return [self.client_id]
        return [numbered_client_id(self.client_id, index, self.count) for index in range(self.count)]

    def serves(self, client_id: str) -> bool:
        """Say whether a client of this id is this one, or one of its worker's."""
        if self.count is None:
            return client_id == self.client_id
        number = client_id.removeprefix(f"{self.client_id}-")
        if not (client_id.startswith(f"{self.client_id}-") and number.isascii() and number.isdecimal()):
            return False
        index = int(number) - 1
        return 0 <= index < self.count and numbered_client_id(self.client_id, index, self.count) == client_id


class Clients:
    """The files of a folder. Each is read again when it has changed: who is revoked is so in a running run.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, tuple[tuple[int, int], Client]] = {}

    def save(self, client: Client) -> None:
        """Keep a client."""
        make_private(self._folder)
        replace_text(self._folder / f"{client.client_id}.json", client.model_dump_json(indent=2) + "\n")

    def all(self) -> Iterator[Client]:
        """Yield all clients, by their ids."""
        for path in sorted(self._folder.glob("*.json")):
            if (client := self.named(path.name.removesuffix(".json"))) is not None:
                yield client

    def find(self, client_id: str) -> Client | None:
        """Return the client of this id, or the worker of many whose client it is."""
        parts = client_id.split("-")
        for name in (client_id, *("-".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))):
            client = self.named(name) if name else None
            if client is not None and client.serves(client_id):
                return client
        return None

    def named(self, client_id: str) -> Client | None:
        """Return what was enrolled by this id, be it a client or a worker of many.

        Raises:
            ConfigurationError: If its file is damaged.
        """
        path = os.path.join(self._folder, f"{client_id}.json")  # noqa: PTH118  # it is asked for at each answer
        try:
            found = os.stat(path)  # noqa: PTH116
        except OSError:
            self._read.pop(path, None)
            return None
        mark = found.st_mtime_ns, found.st_size
        if path not in self._read or self._read[path][0] != mark:
            try:
                self._read[path] = mark, Client.model_validate_json(Path(path).read_bytes())
            except (OSError, ValidationError):
                raise ConfigurationError(f"{path}: it is damaged") from None
        return self._read[path][1]

    def key_of(self, client_id: str) -> Ed25519PublicKey:
        """Return the key of a client that may take part.

        Raises:
            NotSignedError: If it may not.
        """
        try:
            client = self.find(client_id)
        except ConfigurationError as error:
            raise NotSignedError(str(error)) from None
        if client is None:
            raise NotSignedError(f"client {client_id} isn't enrolled")
        if client.standing != "enrolled":
            what = "was revoked" if client.standing == "revoked" else f"ended on {client.until:%Y-%m-%d}"
            raise NotSignedError(f"the enrolment of client {client_id} {what}")
        return client.public_key

    def overlapping(self, request: Request) -> str:
        """Return the id of another client or worker that has ids in common with this request; empty if none has."""
        for client in self.all():
            one, many = (client, request) if client.count is None else (request, client)
            pattern = numbered_client_ids(many.client_id, many.count) if many.count else ""
            if one.count is None and fnmatchcase(one.client_id, pattern):
                return client.client_id
        return ""
