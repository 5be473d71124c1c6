"""The settings of a study's own, as ``--run-config`` says them and its code finds them in ``context.run_config``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from tasks.errors import ConfigurationError
from tasks.plugins import near_name

_Value = bool | int | Annotated[float, Field(allow_inf_nan=False)] | str
RunSetting = _Value | list[_Value]
"""A value, or a list of values."""
_SETTING: TypeAdapter[RunSetting] = TypeAdapter(RunSetting)
RunSettings = dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], RunSetting]
"""Settings by name; a name is one that Python would take."""


def parse_run_config(text: str) -> dict[str, object]:
    """Read ``momentum=0.9,hidden=[64,32],nesterov=true,net=cnn``: TOML's values, and else text.

    Raises:
        ConfigurationError: If it isn't of this form, or gives a name twice.
    """
    settings: dict[str, object] = {}
    for pair in _pairs(text):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not (equals and name.isascii() and name.isidentifier() and value):
            raise ConfigurationError(f"--run-config {pair!r}: write NAME=VALUE[,NAME=VALUE…], like momentum=0.9")
        if name in settings:
            raise ConfigurationError(f"--run-config: {name} is given twice, once is allowed")
        settings[name] = found = _value(value)
        if not _is_allowed(found) or (value.startswith("[") and not isinstance(found, list)):
            raise ConfigurationError(
                f"--run-config {name}={value}: a finite number, true, false, a text, or a list of these is allowed; "
                "texts in a list have quotes"
            )
    return settings


def _is_allowed(value: object) -> bool:
    try:
        _SETTING.validate_python(value)
    except ValidationError:
        return False
    return True


def _pairs(text: str) -> list[str]:
    """Return what commas divide, but for those within brackets and quotes."""
    pairs: list[str] = []
    for piece in text.split(","):
        if pairs and (pairs[-1].count("[") > pairs[-1].count("]") or pairs[-1].count('"') % 2):
            pairs[-1] += f",{piece}"
        else:
            pairs.append(piece)
    return pairs


def _value(text: str) -> object:
    try:
        found = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, or a number or a list that Python's reader gives up
        return text
    return found if isinstance(found, bool | int | float | str | list) else text


def with_defaults(
    declared: Mapping[str, RunSetting] | None, given: Mapping[str, RunSetting]
) -> Mapping[str, RunSetting]:
    """Return the settings that a workload declares, those that are given with their given values.

    Args:
        declared: Settings and their defaults; None: any may be given.
        given: Settings of the run.

    Raises:
        ConfigurationError: If one isn't declared, or is of another kind than its default.
    """
    if declared is None:
        return given
    for name, value in given.items():
        if name not in declared:
            hint = near_name(name, declared) if declared else "it has none"
            raise ConfigurationError(f"--run-config {name}: the workload has no such setting; {hint}")
        kind = type(declared[name])
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise ConfigurationError(
                f"--run-config {name}={value}: its default is {declared[name]!r}, so {kind.__name__} is allowed"
            )
    return {**declared, **given}
