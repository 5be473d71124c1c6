"""A policy: a TOML file in which a site's owner says what the site takes part in, and what may leave it.

What a list doesn't name is refused; a limit that isn't given is none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from celeriac.algorithms import ALGORITHMS
from celeriac.compressors import NAMES
from tasks.errors import ConfigurationError
from tasks.plugins import digest_of, near_name, nearest_hint, split_spec

_PIN = re.compile(r"(?P<spec>[\w.]+:\w+)@(?P<digest>sha256:[0-9a-f]{64})")
_Names = tuple[str, ...]


class _Table(BaseModel):
    """A table of the file: it has no key that isn't known, and no value of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Tells(_Table):
    """What announcements and answers may tell of the site's data and machine.

    Attributes:
        labels: Whether the number of examples of each label is announced.
        hardware: Whether processors, memory and accelerator are.
        examples_rounded_to: Numbers of examples are told as the next lower multiple of this.
        metrics: Names of metrics of training and evaluation that answers may have. The score that a `verify` order
            asks for is told where that kind of order is allowed.
    """

    labels: bool = False
    hardware: bool = False
    examples_rounded_to: Annotated[int, Field(ge=1)] = 1
    metrics: Annotated[_Names, Field(strict=False)] = ()


class Protects(_Table):
    """What is done to an update before anything else sees it.

    Attributes:
        clip: The largest L2 norm of what training changed in the model; what is longer is scaled down to it.
        noise: Standard deviation of the Gaussian noise that is added to each number of it.
    """

    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Rules(_Table):
    """What a site takes part in.

    Attributes:
        orders: Kinds of orders that are carried out.
        algorithms: Algorithms whose client's part is carried out; one of the site's own with the digest of its file.
        compressions: Compressions that updates are sent in; likewise.
        max_epochs: The most passes over its data that an order may ask for, in epochs or in steps.
        max_timeout_s: The most seconds that an order may take.
        max_orders_per_day: The most orders that a client carries out in a day (UTC).
        min_examples: The fewest training examples with which a client takes part.
        tells: What announcements and answers may tell.
        protects: What is done to updates; None: nothing.
    """

    orders: Annotated[_Names, Field(strict=False)]
    algorithms: Annotated[_Names, Field(strict=False)] = ()
    compressions: Annotated[_Names, Field(strict=False)] = ("none",)
    max_epochs: Annotated[float, Field(gt=0)] | None = None
    max_timeout_s: Annotated[float, Field(gt=0)] | None = None
    max_orders_per_day: Annotated[int, Field(ge=1)] | None = None
    min_examples: Annotated[int, Field(ge=0)] = 0
    tells: Tells = Tells()
    protects: Protects | None = None

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for kind, names, known in (
            ("algorithms", self.algorithms, ALGORITHMS),
            ("compressions", self.compressions, NAMES),
        ):
            for name in names:
                _check_pinned(kind, name, known)
        return self

    def allows_code(self, kind: Literal["algorithms", "compressions"], spec: str) -> str:
        """Return why an order may not name this algorithm or compression; empty if it may."""
        names = self.algorithms if kind == "algorithms" else self.compressions
        known: Collection[str] = ALGORITHMS if kind == "algorithms" else NAMES
        name = spec if kind == "algorithms" else split_spec(spec, known)[0]
        if name in known:
            return "" if name in names else f"{kind} = {_listed(names)}"
        pinned = [each for each in names if each.partition("@")[0] == name]
        return _why_changed(pinned[0]) if pinned else f"{kind} = {_listed(names)}"

    def changed_code(self) -> Iterator[str]:
        """Yield what is wrong with code of the site's own whose file isn't what it was when it was named."""
        return filter(None, map(_why_changed, (*self.algorithms, *self.compressions)))


_TABLES: dict[str, type[_Table]] = {"": Rules, "tells": Tells, "protects": Protects}


def _why_changed(pinned: str) -> str:
    """Return which digest code that is named with one has, if it is another; empty else."""
    spec, _, digest = pinned.partition("@")
    found = digest_of(spec) if digest else ""
    return "" if found == digest else f"{spec} has the digest {found}, pinned is {digest}"


def _check_pinned(kind: str, name: str, known: Iterable[str]) -> None:
    if name in known or _PIN.fullmatch(name):
        return
    spec = name.partition("@")[0]
    if ":" in spec:
        raise ValueError(
            f"{kind}: {name!r}: code of your own is named with the digest of its file: {spec}@{digest_of(spec)}"
        )
    raise ValueError(f"{kind}: {name!r}: {nearest_hint(name, known)}@sha256:…")


def read_rules(path: Path) -> Rules:
    """Return the rules in a file. Names of orders are taken as they are: what no order is called allows none.

    Raises:
        ConfigurationError: If it can't be read, or anything else in it isn't known or not allowed.
    """
    try:
        return Rules.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_told(error)}") from None
    except (OSError, ValueError, RecursionError) as error:  # a number or a list may be too long for Python's reader
        raise ConfigurationError(
            f"{path}: {getattr(error, 'strerror', None) or error}: a policy in TOML is needed"
        ) from None


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


def _listed(names: Iterable[str]) -> str:
    return f"[{', '.join(name.partition('@')[0] for name in names)}]"
