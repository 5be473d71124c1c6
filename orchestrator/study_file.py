"""A study's options in a file: ``study.toml``, or the ``config.json`` of a run."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from orchestrator.config import RunConfig
from orchestrator.options import flags_of
from orchestrator.workload_options import WorkloadOptions
from tasks.errors import ConfigurationError
from tasks.messages import TrainOptions
from tasks.option import allowed, kind_of
from tasks.plugins import near_name

_OF_THE_RUN = ("run_id", "local")
"""Settings of a ``config.json`` that belong to the run that it is of."""
_BESIDE = ("broker", *WorkloadOptions.model_fields, "run_dir")
"""Options that are no fields of the config."""
_IN_WORDS: Mapping[object, str] = {
    str: "a text",
    str | None: "a text",
    bool: "true or false",
    tuple[str, ...]: "a list of texts",
}
"""What is allowed where an option's type alone says so."""
_PATHS = ("data", "initial_model", "run_dir")


def read_study(path: Path) -> dict[str, Any]:
    """Return the options that a file sets, by the names that the command has for them.

    Args:
        path: A TOML file, or JSON if its name ends so. Options are called as on the command line, without the dashes in
            front; those with several values have lists, or tables.

    Raises:
        ConfigurationError: If it can't be read, has an option that there isn't, or a value that isn't allowed.
    """
    given = _read(path)
    given |= given.pop("options", {}) if isinstance(given.get("options"), dict) else {}
    return checked_options(given, str(path))


def checked_options(given: Mapping[str, object], where: str, join: str = "-") -> dict[str, Any]:
    """Return options by the names that the command has for them, each of the type that it needs.

    Args:
        given: Options by the config's names, or as on the command line without the dashes in front.
        where: Where they are given, for the message.
        join: What is between the words of a name there.

    Raises:
        ConfigurationError: If there is no such option, or a value isn't allowed.
    """
    names = {flag.removeprefix("--").replace("-", "_"): name for name, flag in flags_of(RunConfig).items()}
    fields = {**RunConfig.model_fields, **TrainOptions.model_fields, **WorkloadOptions.model_fields}
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = names.get(key.replace("-", "_"), key.replace("-", "_"))
        if name in _OF_THE_RUN:
            continue
        if name not in fields and name not in _BESIDE:
            known = [name.replace("_", join) for name in (*names, *_BESIDE)]
            raise ConfigurationError(f"{where}: {key}: there is no such option; {near_name(key, known)}")
        found[name] = _checked(where, key, value, fields.get(name))
    return {name: Path(value) if name in _PATHS and value is not None else value for name, value in found.items()}


def defaults() -> dict[str, Any]:
    """Return what each option is that isn't given, by the names that the command has for them."""
    fields = {**RunConfig.model_fields, **TrainOptions.model_fields}
    return {**dict.fromkeys(_BESIDE), **{name: fields[name].default for name in flags_of(RunConfig)}}


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"{path}: {reason}: a file of options in TOML, or a run's config.json, is needed"
        ) from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path}: {type(found).__name__} is in it: options by their names are needed")
    return found


def _checked(where: str, key: str, value: object, field: FieldInfo | None) -> Any:
    kind: Any = str | None if field is None else Annotated[(field.annotation, *field.metadata)]
    is_number = field is not None and kind_of(field) in (int, float)
    read = str(value) if is_number and isinstance(value, bool) else value  # true would be 1
    try:
        return TypeAdapter(kind).validate_python(read)
    except ValidationError as error:
        what = (allowed(field) or _IN_WORDS.get(field.annotation, "")) if field else "a text"
        told = f"{what} is allowed" if what else error.errors()[0]["msg"]
        raise ConfigurationError(f"{where}: {key} = {_shown(value)}: {told}") from None


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    except (ValueError, RecursionError):  # a number of thousands of digits, or lists in lists in lists
        return f"a {type(value).__name__} that is too long to show"
    return text if len(text) < 100 else f"{text[:100]}…"
