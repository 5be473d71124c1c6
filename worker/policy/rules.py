"""A policy: a TOML file in which a site's owner says what the site takes part in, and what may leave it.

What a list doesn't name is refused. A limit that isn't given is none; where the client is enrolled, each has to be
given.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from celeriac.algorithms import ALGORITHMS
from celeriac.compressors import NAMES
from tasks.errors import ConfigurationError
from tasks.orders.disconnect import DisconnectOrder
from tasks.orders.evaluate import EvaluateOrder
from tasks.orders.set_parameters import SetParametersOrder
from tasks.orders.statistics import StatisticsOrder
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tasks.orders.verify import VerifyOrder
from tasks.plugins import digest_of, near_name, nearest_hint, split_spec
from tasks.workload import BUILT_IN

ORDERS = tuple(
    kind.name
    for kind in (
        *(SurveyOrder, TrainOrder, EvaluateOrder, VerifyOrder),
        *(SetParametersOrder, StatisticsOrder, DisconnectOrder),
    )
)
"""Built-in kinds of orders."""
_PIN = re.compile(r"(?P<spec>[\w.]+:\w+)@(?P<digest>sha256:[0-9a-f]{64})")
_FINGERPRINT = r"^[A-Z2-7]{6}(-[A-Z2-7]{6}){3}$"
_Names = tuple[str, ...]
_NameList = Annotated[_Names, Field(strict=False)]
CodeKind = Literal["orders", "workloads", "algorithms", "compressions"]
_KNOWN: Mapping[CodeKind, Collection[str]] = {
    "orders": ORDERS,
    "workloads": BUILT_IN,
    "algorithms": ALGORITHMS,
    "compressions": NAMES,
}
_LIMITS = ("workloads", "max_epochs", "max_timeout_s", "max_orders_per_day", "min_examples")
"""Keys that allow more if they are left out."""


class _Table(BaseModel):
    """A table of the file: it has no key that isn't known, and no value of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Tells(_Table):
    """What announcements and answers may tell of the site's data and machine.

    Attributes:
        labels: Whether the number of examples of each label is announced.
        hardware: Whether processors, memory and accelerator are.
        errors: Whether answers have the texts of exceptions.
        examples_rounded_to: Numbers of examples are told as the next lower multiple of this.
        metrics: Names of metrics of training and evaluation that answers may have. The score that a `verify` order
            asks for is told where that kind of order is allowed.
        results: Names of results beside the model that updates may have.
    """

    labels: bool = False
    hardware: bool = False
    errors: bool = False
    examples_rounded_to: Annotated[int, Field(ge=1)] = 1
    metrics: _NameList = ()
    results: _NameList = ()


class Protects(_Table):
    """What is done to an update before anything else sees it.

    Attributes:
        clip: The largest L2 norm of what training changed in the model; what is longer is scaled down to it.
        noise: Standard deviation of the Gaussian noise that is added to each number of it.
    """

    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Rules(_Table):
    """What a site takes part in. Code of the site's own is named with the digest of its file.

    Attributes:
        orders: Kinds of orders that are carried out.
        orchestrators: Fingerprints of the keys whose orders are carried out; None: whichever key the client enrolled
            with.
        workloads: Workloads that are trained, without their parameters; None: whichever `CLIENT_WORKLOAD` names.
        algorithms: Algorithms whose client's part is carried out.
        compressions: Compressions that updates are sent in.
        run_config: Names of the study's own settings that a run may give.
        max_epochs: The most passes over its data that an order may ask for, in epochs or in steps.
        max_timeout_s: The most seconds that an order may take.
        max_orders_per_day: The most orders that a client carries out in a day (UTC).
        min_examples: The fewest examples of which anything is told: fewer are neither trained nor evaluated on.
        tells: What announcements and answers may tell.
        protects: What is done to updates; None: nothing.
    """

    orders: _NameList
    orchestrators: Annotated[tuple[Annotated[str, Field(pattern=_FINGERPRINT)], ...] | None, Field(strict=False)] = None
    workloads: Annotated[_Names | None, Field(strict=False)] = None
    algorithms: _NameList = ()
    compressions: _NameList = ("none",)
    run_config: _NameList = ()
    max_epochs: Annotated[float, Field(gt=0)] | None = None
    max_timeout_s: Annotated[float, Field(gt=0)] | None = None
    max_orders_per_day: Annotated[int, Field(ge=1)] | None = None
    min_examples: Annotated[int, Field(ge=0)] = 0
    tells: Tells = Tells()
    protects: Protects | None = None

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for kind, known in _KNOWN.items():
            for name in self._named(kind) or ():
                _check_pinned(kind, name, known)
        return self

    def _named(self, kind: CodeKind) -> _Names | None:
        names: _Names | None = getattr(self, kind)
        return names

    def refuses_code(self, kind: CodeKind, spec: str) -> str:
        """Return why an order may not have this done; empty if it may.

        Args:
            kind: What it is.
            spec: A built-in name, or ``module:name``, as the order or the client's settings have it.
        """
        names, name = self._named(kind), _name_in(kind, spec)
        if names is None or (name in _KNOWN[kind] and name in names):
            return ""
        pinned = [each for each in names if each.partition("@")[0] == name and name not in _KNOWN[kind]]
        return _why_changed(pinned[0]) if pinned else f"{kind} = {listed(names)}"

    def changed_code(self) -> Iterator[str]:
        """Yield what is wrong with code of the site's own whose file isn't what it was when it was named."""
        return filter(None, (_why_changed(name) for kind in _KNOWN for name in self._named(kind) or ()))

    def unsaid(self) -> Iterator[str]:
        """Yield the keys that were left out, and so limit nothing."""
        yield from (name for name in _LIMITS if name not in self.model_fields_set)
        if "examples_rounded_to" not in self.tells.model_fields_set:
            yield "tells.examples_rounded_to"


_TABLES: dict[str, type[_Table]] = {"": Rules, "tells": Tells, "protects": Protects}


def _name_in(kind: CodeKind, spec: str) -> str:
    """Return the name in a spec, without its parameters."""
    match kind:
        case "workloads":
            return spec.partition(",")[0]
        case "compressions":
            return split_spec(spec, NAMES)[0]
        case _:
            return spec


def _why_changed(pinned: str) -> str:
    """Return which digest code that is named with one has, if it is another; empty else."""
    spec, _, digest = pinned.partition("@")
    found = digest_of(spec) if digest else ""
    return "" if found == digest else f"{spec} has the digest {found}, pinned is {digest}"


def pinned(spec: str) -> str:
    """Return the name of code of the site's own as a policy has it."""
    return f"{spec}@{digest_of(spec)}"


def _check_pinned(kind: str, name: str, known: Iterable[str]) -> None:
    if name in known or _PIN.fullmatch(name):
        return
    spec = name.partition("@")[0]
    if ":" in spec:
        raise ValueError(f"{kind}: {name!r}: code of your own is named with the digest of its file: {pinned(spec)}")
    raise ValueError(f"{kind}: {name!r}: {nearest_hint(name, known)}@sha256:…")


def read_rules(path: Path, *, is_enrolled: bool = False) -> Rules:
    """Return the rules in a file.

    Args:
        path: The file.
        is_enrolled: Whether the client is, so that nothing may be left out which would allow less.

    Raises:
        ConfigurationError: If it can't be read, or anything else in it isn't known or not allowed.
    """
    try:
        rules = Rules.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_told(error)}") from None
    except FileNotFoundError as error:
        hint = "python -m worker.policy init writes one" if is_enrolled else "a policy in TOML is needed"
        raise ConfigurationError(f"{path}: {error.strerror}: {hint}") from None
    except (OSError, ValueError, RecursionError) as error:  # a number or a list may be too long for Python's reader
        raise ConfigurationError(
            f"{path}: {getattr(error, 'strerror', None) or error}: a policy in TOML is needed"
        ) from None
    if is_enrolled and (unsaid := [*rules.unsaid()]):
        raise ConfigurationError(f"{path}: {unsaid[0]}: the policy of a client that is enrolled has to say it")
    return rules


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    match first["type"]:
        case "extra_forbidden":
            *tables, key = map(str, first["loc"])
            return f"{where}: there is no such key; {near_name(key, _TABLES[''.join(tables)].model_fields)}"
        case "value_error":
            return str(first["ctx"]["error"])
        case _:
            return f"{where}: {first['msg']}"


def listed(names: Iterable[str]) -> str:
    """Return names in brackets, without digests."""
    return f"[{', '.join(name.partition('@')[0] for name in names)}]"
