"""The tables of docs that say what can be set: ``python -m scripts.option_tables`` writes them, a test compares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from benchmarks.pasting import markdown, paste_into
from orchestrator.config import RunConfig
from orchestrator.options import GroupedOption
from orchestrator.start import main
from orchestrator.workload_options import WorkloadOptions
from tasks.option import GROUPS, Option, allowed, docstrings_of
from worker.settings import ClientSettings

DOCS = Path(__file__).parents[1] / "docs"


def tables() -> dict[Path, dict[str, str]]:
    """Return the pages, and for each the table that belongs between the markers of a name."""
    return {DOCS / "clients.md": {"variables": _variables()}, DOCS / "options.md": {"options": _options()}}


def _options() -> str:
    """Return the options of the command line, a table a group."""
    options = [option for option in main.params if isinstance(option, GroupedOption)]
    fields = {**dict(_fields(WorkloadOptions)), **dict(_fields(RunConfig))}
    parts = []
    for group in GROUPS:
        rows = [_row(option, fields.get(str(option.name))) for option in options if option.group == group]
        parts.append(f"## {group}\n\n{markdown(('option', 'meaning', 'value', 'if not given'), rows)}")
    return "\n" + "\n\n".join(parts) + "\n"


def _row(option: GroupedOption, field: FieldInfo | None) -> tuple[str, str, str, str]:
    value = _value(option.metavar, allowed(field) if field else "")
    flags = " / ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    default = option.show_default if isinstance(option.show_default, str) else _shown(field.default if field else None)
    return flags, str(option.help), value, default.replace("<", "&lt;")


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield a model's fields, and those of models among them, by name."""
    for name, field in model.model_fields.items():
        yield name, field
        if isinstance(field.default, BaseModel):
            yield from _fields(type(field.default))


def _variables() -> str:
    """Return the variables of a client's environment as a table."""
    variables = ClientSettings.variables()
    rows = [(f"`{variables[name]}`", *_cells(name)) for name in variables]
    return markdown(("variable", "meaning", "value", "if not set"), rows)


def _cells(name: str) -> tuple[str, str, str]:
    """Return what a client's setting means, which values it allows, and what holds if it isn't set."""
    field = ClientSettings.model_fields[name]
    [mark] = [mark for mark in field.metadata if isinstance(mark, Option)]
    meaning = " ".join(docstrings_of(ClientSettings)[name].split())
    return meaning, _value(mark.metavar, allowed(field)), mark.default or _shown(field.default)


def _value(metavar: str | None, allowed_values: str) -> str:
    """Return what stands for a value, its unit often, and which are allowed."""
    shown = f"`{metavar}`" if metavar not in (None, "N") else ""
    return ": ".join(filter(None, (shown, allowed_values)))


def _shown(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


if __name__ == "__main__":
    for page, texts in tables().items():
        paste_into(page, texts)
