"""A run's options as keywords of a call: checked as the command's are, and the run's folder made or opened by them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from orchestrator.config import RunConfig
from orchestrator.federate.by_value import MODULE_PATTERN, ByValue
from orchestrator.opening import CHANGEABLE, open_new, shown_path, take_up
from orchestrator.options import names
from orchestrator.store.run_folder import RunFolder
from orchestrator.study_file import checked_options, defaults
from tasks.errors import ConfigurationError

WHERE = "federate()"
_NAMES, _SEVERAL, _BY_NAME = str, tuple[str, ...], dict[str, str]
"""Types of the options that name what may be an object."""


def checked(named: Mapping[str, Any], by_value: ByValue) -> dict[str, Any]:
    """Return the options that are given, those that are None left out, with a name for each object.

    Args:
        named: Options by the config's names.
        by_value: Takes the objects that can't be imported.

    Raises:
        ConfigurationError: If there is no such option, or a value isn't allowed.
    """
    spelled = {name: _spelled(name, value, by_value) for name, value in named.items() if value is not None}
    return checked_options(spelled, WHERE, "_")


def _spelled(name: str, value: object, by_value: ByValue) -> object:
    if isinstance(value, PathLike):
        return fspath(value)
    field = RunConfig.model_fields.get(name)
    if field is None or field.annotation not in (_NAMES, _SEVERAL, _BY_NAME):
        return value
    if isinstance(value, str):
        return names(value) if field.annotation == _SEVERAL else value
    found = by_value.spelled(value, name)
    return (found,) if field.annotation == _SEVERAL and isinstance(found, str) else found


def new_folder(given: Mapping[str, Any], path: Path | None, broker: str | None) -> RunFolder:
    """Make the folder of a new run.

    Raises:
        ConfigurationError: If options don't suit each other or the broker, or the folder is taken; then none is made.
    """
    opened = open_new({**defaults(), **given, "run_dir": path, "broker": broker}, list(given))
    opened.lock.close()  # the orchestrator takes it
    return opened.folder


def former_folder(
    path: Path, given: Mapping[str, Any], broker: str | None, by_value: ByValue, *, accepts_changed: bool = False
) -> RunFolder:
    """Open the folder of a run to go on with, by its own settings and those that may be others.

    Raises:
        ConfigurationError: If it is none or is damaged, another setting is given, or an object of the run isn't.
    """
    config = RunFolder.open(path).config()
    own = {**config.model_dump(), **config.options.model_dump()}
    changed = {name: value for name, value in given.items() if own.get(name) != value}
    if wrong := [name for name in changed if name not in CHANGEABLE]:
        raise ConfigurationError(
            f"{WHERE}: resume goes on with the run's own settings, but for {', '.join(CHANGEABLE)}: "
            f"{wrong[0]} is {own.get(wrong[0])!r} there, not {given[wrong[0]]!r}"
        )
    needed = re.findall(rf"{re.escape(by_value.name)}:(\w+)", config.model_dump_json())
    if missing := [name for name in needed if name not in by_value.objects]:
        raise ConfigurationError(
            f"{WHERE}: the run in {shown_path(path)} has {', '.join(missing)} of a program: give that again, too"
        )
    if given.get("workload") == config.workload:
        changed["workload"] = config.workload  # programs have to be repeated
    opened = take_up(
        {**defaults(), **changed, "resume": path, "broker": broker, "accept_changed_code": accepts_changed},
        list(changed),
    )
    opened.lock.close()
    return opened.folder


def module_of(path: Path) -> str:
    """Return the name of the module that a run's objects are in; empty if it has none."""
    found = re.search(MODULE_PATTERN, RunFolder.open(path).config_path.read_text(encoding="utf-8"))
    return found.group() if found else ""
