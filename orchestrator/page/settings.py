"""A run's settings, and which of them aren't the default."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.config import RunConfig
from orchestrator.options import flags_of
from tasks.option import Option, docstrings_of

_NAMES = re.compile(r"\{(\w+)\}")
"""Where the command's help lists the names of a kind, for which it loads all of that kind."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting: its field, option and group, its value and default in words, and what it is."""

    name: str
    flag: str
    group: str
    value: str
    default: str
    help: str

    @property
    def is_default(self) -> bool:
        """Whether it is as it would be without the option."""
        return self.value == self.default


def settings_of(config: RunConfig) -> list[Setting]:
    """Return all settings that are options, in the order of the command's help."""
    return list(_settings(config, flags_of(RunConfig)))


def differing(configs: Sequence[RunConfig]) -> list[tuple[str, list[str]]]:
    """Return each setting in which configs differ, and its values."""
    values = [{setting.flag: setting.value for setting in settings_of(config)} for config in configs]
    rows = [(flag, [each[flag] for each in values]) for flag in (values[0] if values else ())]
    return [(flag, row) for flag, row in rows if len(set(row)) > 1]


def _settings(model: BaseModel, flags: dict[str, str]) -> Iterator[Setting]:
    told = docstrings_of(type(model))
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _settings(value, flags)
        elif name in flags:
            default = field.get_default(call_default_factory=False)
            meaning = _NAMES.sub(r"one of the built-in \1", " ".join(told[name].split()))
            yield Setting(name, flags[name], _group(field), shown(value), shown(default), meaning)


def _group(field: FieldInfo) -> str:
    return next(mark.group for mark in field.metadata if isinstance(mark, Option))


def shown(value: Any) -> str:
    """Return a setting's value as the command line has it."""
    if value is None or value in ((), {}):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={shown(each)}" for name, each in value.items())
    return str(value)
