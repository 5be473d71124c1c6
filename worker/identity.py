"""Who a client is: an id that it keeps, in a folder that only one worker at a time may use."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tasks.errors import ConfigurationError
from tasks.files import make_private, private, remove_temporaries
from tasks.names import check_client_id, numbered_client_id

_ID_FILE = "client_id"
_UNNAMED = "_unnamed"
_WORKERS = "_workers"
"""Folders of clients that made up their ids, and of workers that serve several; no client's id begins like this."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A client's id and its folder; the id's file stays locked as long as its worker lives."""

    client_id: str
    folder: Path
    lock: IO[str]


def take_identity(state: Path, client_id: str | None) -> Identity:
    """Take the identity ``client_id``, or the first unnamed one that no other worker uses, or a new one.

    Args:
        state: The folder of all clients of this machine and user.
        client_id: The id that was asked for; None for one that is made up once and found again.

    Raises:
        ConfigurationError: If a worker with this id is running here, or the folder can't be written.
    """
    try:
        if client_id is None:
            return _unnamed(state / _UNNAMED)
        identity = _lock(state / client_id, client_id)
    except OSError as error:
        raise ConfigurationError(f"the folder for this client's state ({state}): {error}: set CLIENT_STATE") from None
    if identity is None:
        raise ConfigurationError(f"CLIENT_ID={client_id}: a worker with this id is running here: choose another")
    return identity


def take_worker_identity(state: Path, prefix: str | None) -> Identity:
    """Take the identity of a worker that serves several clients: what their ids begin with, and a folder of its own.

    Raises:
        ConfigurationError: As :func:`take_identity`.
    """
    return take_identity(state / _WORKERS, prefix)


def client_folders(state: Path, prefix: str, count: int) -> dict[str, Path]:
    """Return client id -> folder, of the clients that one worker serves.

    Their folders don't stay locked, which would take an open file each. Should a worker for one of them be started
    later, the two find out by their announcements.

    Raises:
        ConfigurationError: If a worker for one of them is running here, or a folder can't be written.
    """
    folders = {}
    for index in range(count):
        identity = take_identity(state, numbered_client_id(prefix, index, count))
        identity.lock.close()
        folders[identity.client_id] = identity.folder
    return folders


def _unnamed(folder: Path) -> Identity:
    for candidate in (*_kept(folder), *_made_up()):
        identity = _lock(folder / candidate, candidate)
        if identity is not None:
            return identity
    raise ConfigurationError(f"no free client id under {folder}")


def _kept(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if (entry / _ID_FILE).is_file())


def _made_up() -> Iterator[str]:
    for _ in range(100):
        yield f"client-{secrets.token_hex(4)}"


def _lock(folder: Path, client_id: str) -> Identity | None:
    """Lock the folder's id file for this process; None if another process has it."""
    make_private(folder)
    file = os.fdopen(private(str(folder / _ID_FILE), os.O_RDWR | os.O_CREAT), "r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    remove_temporaries(folder.rglob("*.tmp"))
    if not file.read():
        file.write(f"{check_client_id(client_id)}\n")
        file.flush()
    return Identity(client_id, folder, file)
