"""The tables of docs that say what can be set: ``python -m scripts.option_tables`` writes them, a test compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from benchmarks.pasting import markdown, paste_into
from tasks.option import Option, allowed
from worker.settings import ClientSettings

DOCS = Path(__file__).parents[1] / "docs"


def tables() -> dict[Path, dict[str, str]]:
    """Return the pages, and for each the table that belongs between the markers of a name."""
    return {DOCS / "clients.md": {"variables": _variables()}}


def _variables() -> str:
    """Return the variables of a client's environment as a table."""
    variables = ClientSettings.variables()
    rows = [(f"`{variables[name]}`", *_cells(ClientSettings.model_fields[name])) for name in variables]
    return markdown(("variable", "meaning", "value", "if not set"), rows)


def _cells(field: FieldInfo) -> tuple[str, str, str]:
    """Return what a field means, which values it allows, and what holds if it isn't set."""
    [mark] = [mark for mark in field.metadata if isinstance(mark, Option)]
    meaning = " ".join((field.description or "").split())
    return meaning, allowed(field) or f"`{mark.metavar}`", mark.default or _shown(field.default)


def _shown(default: Any) -> str:
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


if __name__ == "__main__":
    for page, texts in tables().items():
        paste_into(page, texts)
