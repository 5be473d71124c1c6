"""A client's settings, or those of many clients of one worker, read once from the environment."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from celeriac.algorithms import ALGORITHMS, Algorithm, load_algorithm
from celeriac.compressors import NAMES, Compressor, load_compressor
from tasks.announcement import DEFAULT_HEARTBEAT_S, MAX_PROCESSES
from tasks.blobs.stores import check_named
from tasks.broker.connection import DEFAULT_URL, URL_VARIABLE, check_url
from tasks.cores import num_cores
from tasks.errors import ConfigurationError, DataMissingError
from tasks.names import check_client_id, numbered_client_id
from tasks.plugins import split_spec
from tasks.spec import canonical
from tasks.workload import Part

MAX_CLIENTS = 100_000
_PREFIX = "CLIENT_"
_AFTER_PREFIX = (
    "ALGORITHM", "BLOBS", "COMPRESSION", "CONCURRENCY", "COUNT", "DATA", "HEARTBEAT_S", "ID", "ORDERS", "PART", "STATE",
    "WORKLOAD",
)  # fmt: skip
_VARIABLES = frozenset(f"{_PREFIX}{name}" for name in _AFTER_PREFIX)
_NEAR = 0.8
"""How much alike names are of which one is taken for a slip of the other: ``WORKLAOD``, not ``PORT`` for ``PART``."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What of a user's own an order may name: code isn't imported because an order says so.

    Attributes:
        algorithm: ``CLIENT_ALGORITHM``: an algorithm that isn't built in, as ``module:name``, whose client's part a run
            may ask for; None for built-in ones alone.
        compression: ``CLIENT_COMPRESSION``: likewise a compression that isn't built in.
        orders: ``CLIENT_ORDERS``: likewise kinds of orders.
    """

    algorithm: str | None = None
    compression: str | None = None
    orders: tuple[str, ...] = ()

    def load(self) -> None:
        """Load what is allowed.

        Raises:
            FederationError: If it can't be.
        """
        if self.algorithm is not None:
            load_algorithm(self.algorithm)
        if self.compression is not None:
            load_compressor(self.compression)

    def find_algorithm(self, spec: str) -> Algorithm:
        """Return the algorithm that an order names: a built-in one, or the one that is allowed.

        Raises:
            ConfigurationError: If it is neither.
        """
        _check_allowed("algorithm", spec, spec, (*ALGORITHMS, self.algorithm))
        return load_algorithm(spec)

    def find_compressor(self, spec: str) -> Compressor | None:
        """Return the compressor that an order names: a built-in one, or the one that is allowed.

        Raises:
            ConfigurationError: If it is neither.
        """
        own = split_spec(self.compression, NAMES)[0] if self.compression else None
        _check_allowed("compression", spec, split_spec(spec, NAMES)[0], (*NAMES, own))
        return load_compressor(spec)


def _check_allowed(kind: str, spec: str, name: str, allowed: Collection[str | None]) -> None:
    if name not in allowed:
        raise ConfigurationError(f"the run's {kind} {spec!r} is not allowed here: set {_PREFIX}{kind.upper()}={name}")


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How a client is set up.

    Attributes:
        broker_url: ``CELERY_BROKER_URL``: the Redis to join.
        client_id: ``CLIENT_ID``, or None for one that is made up once and kept in a file; with ``num_clients`` what
            the ids of all begin with.
        workload: ``CLIENT_WORKLOAD``: its spec, ``NAME[,KEY=VALUE...]``, in the one way to write it.
        allowed: What of a user's own an order may name.
        data: ``CLIENT_DATA``: the folder with the client's data, or None for what the workload brings along.
        part: ``CLIENT_PART``, like ``2/4``, or None to be given one; with ``num_clients`` what they share out.
        state: ``CLIENT_STATE``: the folder in which clients keep their ids and models.
        heartbeat_s: ``CLIENT_HEARTBEAT_S``: seconds between two signs of life.
        blobs: ``CLIENT_BLOBS``: the store of models and updates, as a URL, or None for the broker.
        num_clients: ``CLIENT_COUNT``: clients that the worker serves, or None for one with a queue of its own.
        num_processes: ``CLIENT_CONCURRENCY``: processes that carry out orders, one without ``num_clients``.
    """

    broker_url: str
    client_id: str | None
    workload: str
    allowed: Allowed
    data: Path | None
    part: Part | None
    state: Path
    heartbeat_s: float
    blobs: str | None = None
    num_clients: int | None = None
    num_processes: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ClientSettings:
        """Read the settings.

        Raises:
            ConfigurationError: If one is wrong; the message names the variable.
        """
        _check_spelling(environment)
        client_id = environment.get("CLIENT_ID") or None
        part = environment.get("CLIENT_PART") or None
        num_clients = _count(environment, "CLIENT_COUNT", MAX_CLIENTS)
        num_processes = _count(environment, "CLIENT_CONCURRENCY", MAX_PROCESSES)
        if num_clients is None and num_processes is not None:
            raise ConfigurationError(
                f"CLIENT_CONCURRENCY={num_processes}: a client carries out one order at a time; "
                "set CLIENT_COUNT for a worker of several clients, or leave CLIENT_CONCURRENCY out"
            )
        if client_id and num_clients:
            check_client_id(numbered_client_id(client_id, num_clients - 1, num_clients))
        return cls(
            broker_url=check_url(environment.get(URL_VARIABLE) or DEFAULT_URL),
            client_id=check_client_id(client_id) if client_id else None,
            workload=canonical(environment.get("CLIENT_WORKLOAD") or "digits"),
            allowed=Allowed(
                algorithm=environment.get("CLIENT_ALGORITHM") or None,
                compression=environment.get("CLIENT_COMPRESSION") or None,
                orders=tuple(spec.strip() for spec in environment.get("CLIENT_ORDERS", "").split(",") if spec.strip()),
            ),
            data=_folder(environment.get("CLIENT_DATA")),
            part=Part.parse(part) if part else None,
            state=Path(environment.get("CLIENT_STATE") or default_state_folder(environment)).expanduser(),
            heartbeat_s=_heartbeat(environment.get("CLIENT_HEARTBEAT_S")),
            blobs=_blobs(environment),
            num_clients=num_clients,
            num_processes=(num_processes or min(num_cores(), num_clients)) if num_clients else 1,
        )


def _check_spelling(environment: Mapping[str, str]) -> None:
    """Refuse a variable that is nearly one of ours; others that begin alike (``CLIENT_SECRET``) are somebody else's."""
    for name in sorted(environment.keys() - _VARIABLES):
        near = difflib.get_close_matches(name.removeprefix(_PREFIX), _AFTER_PREFIX, n=1, cutoff=_NEAR)
        if name.startswith(_PREFIX) and near:
            raise ConfigurationError(
                f"{name}: there is no such setting, did you mean {_PREFIX}{near[0]}? known are "
                f"{', '.join(sorted(_VARIABLES))}"
            )


def default_state_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder that the XDG base directory specification sets aside for a program's state."""
    base = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "celeriac"


def _folder(text: str | None) -> Path | None:
    if not text:
        return None
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise DataMissingError(f"CLIENT_DATA={text}: there is no such folder")
    return folder.resolve()


def _blobs(environment: Mapping[str, str]) -> str | None:
    url = environment.get("CLIENT_BLOBS") or None
    if url is not None:
        check_named(url, environment.get(URL_VARIABLE) or DEFAULT_URL)
    return url


def _count(environment: Mapping[str, str], name: str, maximum: int) -> int | None:
    text = environment.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= maximum):
        raise ConfigurationError(f"{name}={text}: a whole number from 1 to {maximum} is allowed")
    return int(text)


def _heartbeat(text: str | None) -> float:
    try:
        seconds = float(text) if text else DEFAULT_HEARTBEAT_S
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise ConfigurationError(f"CLIENT_HEARTBEAT_S={text}: seconds from 0.1 to 3600 are allowed")
    return seconds
