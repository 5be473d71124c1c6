"""A client's settings, or those of many clients of one worker, read once from the environment."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from celeriac.algorithms import ALGORITHMS, Algorithm, load_algorithm
from celeriac.compressors import NAMES, Compressor, load_compressor
from tasks.announcement import DEFAULT_HEARTBEAT_S, MAX_PROCESSES
from tasks.blobs.stores import check_named
from tasks.broker.connection import DEFAULT_URL, check_url
from tasks.broker.url import URL_VARIABLE, Broker
from tasks.cores import num_cores
from tasks.device import Device
from tasks.errors import ConfigurationError, DataMissingError, UnfitOrderError
from tasks.files import is_folder
from tasks.names import check_client_id, numbered_client_id
from tasks.option import Option, allowed
from tasks.orders.statistics import DEFAULT_MIN_COUNT
from tasks.plugins import split_spec
from tasks.spec import canonical
from tasks.trust.enrolment import Enrolment
from tasks.trust.keys import fingerprint
from tasks.trust.signing import Site
from tasks.workload import Part, StartMethod
from worker.policy.default import FILE
from worker.policy.site import SitePolicy

MAX_CLIENTS = 100_000
_PREFIX = "CLIENT_"
DEFAULT_WORKLOAD = "digits"
ENROLMENT = "enrolment"
"""Name of the folder with an enrolment, beside those of clients."""
NO_POLICY = "none"
"""What ``CLIENT_POLICY`` says where nothing is refused."""
START_METHOD_VARIABLE = "CLIENT_START_METHOD"
_NEAR = 0.8
"""How much alike names are of which one is taken for a slip of the other: ``WORKLAOD``, not ``PORT`` for ``PART``."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What an order may ask for: code of a user's own isn't imported because an order says so.

    Attributes:
        algorithm: ``CLIENT_ALGORITHM``: an algorithm that isn't built in, as ``module:name``, whose client's part a run
            may ask for; None for built-in ones alone.
        compression: ``CLIENT_COMPRESSION``: likewise a compression that isn't built in.
        orders: ``CLIENT_ORDERS``: likewise kinds of orders.
        min_count: ``CLIENT_MIN_COUNT``: the fewest values that statistics tell of, whatever an order says.
        policy: ``CLIENT_POLICY``: what the site takes part in, whatever an order says.
    """

    algorithm: str | None = None
    compression: str | None = None
    orders: tuple[str, ...] = ()
    min_count: int = DEFAULT_MIN_COUNT
    policy: SitePolicy = field(default_factory=SitePolicy)

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
        raise UnfitOrderError(f"the run's {kind} {spec!r} is not allowed here: set {_PREFIX}{kind.upper()}={name}")


def check_own_id(client_id: str) -> str:
    """Return a client's id, if its folder can't be taken for that with the enrolment, which is beside it.

    Raises:
        ConfigurationError: If it can, or the id isn't one.
    """
    if client_id == ENROLMENT:
        raise ConfigurationError(f"client id {client_id!r}: the folder of the enrolment has this name: choose another")
    return check_client_id(client_id)


def _folder(path: Path) -> Path:
    folder = path.expanduser()
    if not is_folder(folder):
        raise DataMissingError(f"CLIENT_DATA={path}: there is no such folder")
    return folder.resolve()


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigurationError(f"{path}: there is no such user, or none with a home directory") from None


def _enrolment(path: Path) -> Path:
    folder = path.expanduser().resolve()
    try:
        own = Enrolment(folder)
        own.site, own.broker_url  # noqa: B018  # whatever is wrong is said now
    except ConfigurationError as error:
        raise ConfigurationError(f"CLIENT_ENROLMENT: {error}") from None
    return folder


def _policy(text: str) -> Path | None:
    return None if text == NO_POLICY else Path(text).expanduser().resolve()


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _of_text(parse: Callable[[str], object]) -> BeforeValidator:
    """Return what makes a value of a variable's text."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


_ClientId = Annotated[str, AfterValidator(check_own_id)]
_Folder = Annotated[Path, AfterValidator(_folder)]
_Part = Annotated[Part, _of_text(Part.parse)]
_Names = Annotated[tuple[str, ...], _of_text(_names)]
_Enrolment = Annotated[Path, AfterValidator(_enrolment)]
_Policy = Annotated[Path | None, _of_text(_policy)]


class ClientSettings(BaseModel):
    """How a client is set up.

    A field marked as an ``Option`` is a variable of the environment; its docstring says in the docs what it means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    broker_url: Annotated[str, AfterValidator(check_url), Option("URL", flag=URL_VARIABLE)] = DEFAULT_URL
    """The Redis to join."""
    client_id: Annotated[_ClientId | None, Option("ID", flag="CLIENT_ID", default="made up, kept in a file")] = None
    """The client's id: letters, digits, `.`, `_`, `-`; with `CLIENT_COUNT` what the ids of all begin with."""
    workload: Annotated[str, AfterValidator(canonical), Option("NAME[,KEY=VALUE…]")] = DEFAULT_WORKLOAD
    """The workload, which has to be the run's, or the client's own as `module:name`."""
    data: Annotated[_Folder | None, Option("DIR", default="what the workload brings along")] = None
    """The folder with the client's data."""
    part: Annotated[_Part | None, Option("I/N", default="a free one of `--clients`, for which it waits")] = None
    """The part of shared data that is the client's, like `2/4`; with `CLIENT_COUNT` the part that all share out."""
    num_clients: Annotated[
        int | None,
        Field(ge=1, le=MAX_CLIENTS),
        Option("N", flag="CLIENT_COUNT", default="one, with a queue of its own"),
    ] = None
    """How many clients the worker serves."""
    concurrency: Annotated[
        int | None, Field(ge=1, le=MAX_PROCESSES), Option("N", default="one a core, no more than clients")
    ] = None
    """Pool processes that carry out the orders of many clients."""
    start_method: Annotated[StartMethod | None, Option(default="what the workload says, else `spawn`")] = None
    """How the processes that train come by what a client has: see [workloads.md](workloads.md#processes)."""
    state: Annotated[Path, AfterValidator(_expanded), Option("DIR", default="`~/.local/state/celeriac`")]
    """The folder in which clients keep their ids, models, and what algorithms keep."""
    heartbeat_s: Annotated[float, Field(ge=0.1, le=3600), Option("SECONDS")] = DEFAULT_HEARTBEAT_S
    """Seconds between two signs of life; a client counts as lost after two and a half of them."""
    blobs: Annotated[str | None, Option("URL", default="the broker")] = None
    """Where models and updates are, like `file:///mnt/shared` or `s3://bucket/prefix`: the place that the run names by
    `--blobs`."""
    device: Annotated[Device, Option("NAME")] = "cpu"
    """The device to train and evaluate on: cpu, cuda, cuda:1, mps, or auto for the first that is there."""
    algorithm: Annotated[str | None, Option("MODULE:NAME", default="built-in ones alone")] = None
    """An algorithm of your own whose client's part a run may ask for."""
    compression: Annotated[str | None, Option("MODULE:NAME", default="built-in ones alone")] = None
    """A compression of your own that a run may ask for."""
    orders: Annotated[_Names, Option("MODULE:NAME[,…]", default="built-in ones alone")] = ()
    """Kinds of orders of your own that the client carries out."""
    min_count: Annotated[int, Field(ge=1), Option("N")] = DEFAULT_MIN_COUNT
    """The fewest values that statistics tell of, whatever an order says."""
    tells_errors: Annotated[bool, Option("yes or no")] = False
    """Whether the texts of exceptions, with paths and data in them, go to the orchestrator, or their kinds and places
    alone; with a policy that says it."""
    enrolment: Annotated[
        _Enrolment | None, Option("DIR", default="`enrolment` in the folder of `CLIENT_STATE`, if there is one")
    ] = None
    """The folder with what the operator gave this client, which says where the broker is, and the client's id: see
    [enrolment.md](enrolment.md)."""
    policy: Annotated[_Policy, Option("FILE", default="`policy.toml` in the enrolment's folder; else `none`")] = None
    """What the site takes part in and tells: see [site-policy.md](site-policy.md). `none`: nothing is refused."""

    stay: Annotated[bool | None, Option("yes or no", default="yes if the client is enrolled, else no")] = None
    """Whether the worker waits for the next run when one is over, with its data loaded, or ends."""

    @property
    def stays(self) -> bool:
        """Whether the worker waits for the next run when one is over."""
        return self.enrolment is not None if self.stay is None else self.stay

    @property
    def site(self) -> Site | None:
        """The keys with which orders are checked and answers signed; None: the client isn't enrolled."""
        return Enrolment(self.enrolment).site if self.enrolment else None

    @property
    def allowed(self) -> Allowed:
        """What an order may ask for."""
        orchestrator = fingerprint(self.site.orchestrator) if self.policy and self.site else ""
        policy = SitePolicy(self.policy, orchestrator)
        return Allowed(self.algorithm, self.compression, self.orders, self.min_count, policy)

    @property
    def num_processes(self) -> int:
        """Processes that carry out orders."""
        if self.start_method == "solo":
            return 1
        return (self.concurrency or min(num_cores(), self.num_clients)) if self.num_clients else 1

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.concurrency is not None and self.num_clients is None:
            raise ConfigurationError(
                f"CLIENT_CONCURRENCY={self.concurrency}: a client carries out one order at a time; "
                "set CLIENT_COUNT for a worker of several clients, or leave CLIENT_CONCURRENCY out"
            )
        if self.concurrency is not None and self.start_method == "solo":
            raise ConfigurationError(
                f"CLIENT_CONCURRENCY={self.concurrency}: with CLIENT_START_METHOD=solo there is one process"
            )
        if self.client_id and self.num_clients:
            check_client_id(numbered_client_id(self.client_id, self.num_clients - 1, self.num_clients))
        if self.blobs is not None:
            check_named(self.blobs)
        try:
            self.allowed.policy.rules()
        except ConfigurationError as error:
            raise ConfigurationError(f"CLIENT_POLICY: {error}") from None
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ClientSettings:
        """Read the settings; a variable that is empty counts as not set.

        Raises:
            ConfigurationError: If one is wrong; the message names the variable.
        """
        variables = cls.variables()
        _check_spelling(environment, variables.values())
        given = {name: text for name, variable in variables.items() if (text := environment.get(variable))}
        by_default: dict[str, Path] = {} if "state" in given else {"state": default_state_folder(environment)}
        folder = enrolment_folder(environment)
        if Enrolment(folder).is_accepted or (Enrolment(folder).is_begun and "broker_url" not in given):
            given |= _enrolled(Enrolment(folder), given, variables) | {"enrolment": str(folder)}
            by_default["policy"] = folder / FILE
        try:
            return cls.model_validate(by_default | given)
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            what = allowed(cls.model_fields[name])
            raise ConfigurationError(f"{variables[name]}={given[name]}: {what} is allowed") from None

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Return the variable of each field, by the field's name."""
        marks = ((name, mark) for name, field in cls.model_fields.items() for mark in field.metadata)
        return {name: mark.flag or f"{_PREFIX}{name.upper()}" for name, mark in marks if isinstance(mark, Option)}


def enrolment_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder with a client's enrolment, whether there is one or not."""
    if named := environment.get(f"{_PREFIX}ENROLMENT"):
        return _expanded(Path(named))
    state = environment.get(f"{_PREFIX}STATE")
    return (_expanded(Path(state)) if state else default_state_folder(environment)) / ENROLMENT


def _enrolled(own: Enrolment, given: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return what an enrolment says, as variables say it.

    Raises:
        ConfigurationError: If a variable says something else.
    """
    package = own.package
    said = {"broker_url": own.broker_url, "client_id": package.client_id}
    said |= {"num_clients": str(package.count)} if package.count else {}
    for name in ("client_id", "num_clients"):
        if name in given and given[name] != said.get(name):
            allowed = said.get(name, "no count")
            raise ConfigurationError(f"{variables[name]}={given[name]}: {own.folder} is the enrolment of {allowed}")
    if "broker_url" in given and Broker.read(given["broker_url"]).place != Broker.read(own.broker_url).place:
        raise ConfigurationError(f"{URL_VARIABLE}: {own.folder} is an enrolment with {package.broker}")
    return said


def _check_spelling(environment: Mapping[str, str], variables: Iterable[str]) -> None:
    """Refuse a variable that is nearly one of ours; others that begin alike (``CLIENT_SECRET``) are somebody else's."""
    known = {variable.removeprefix(_PREFIX): variable for variable in variables if variable.startswith(_PREFIX)}
    for name in sorted(environment.keys() - set(known.values())):
        near = difflib.get_close_matches(name.removeprefix(_PREFIX), known, n=1, cutoff=_NEAR)
        if name.startswith(_PREFIX) and near:
            raise ConfigurationError(
                f"{name}: there is no such setting, did you mean {known[near[0]]}? known are "
                f"{', '.join(sorted(known.values()))}"
            )


def default_state_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder that the XDG base directory specification sets aside for a program's state.

    Raises:
        ConfigurationError: If it would be in a home directory, and this user has none.
    """
    base = environment.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        return Path(base).expanduser() / "celeriac"
    except RuntimeError:
        raise ConfigurationError(
            f"user {os.getuid()} has no home directory: CLIENT_STATE has to name a folder for its id and models"
        ) from None
