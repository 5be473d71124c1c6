"""The page about observers: its table of events is what the models say."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from orchestrator.observers import ALWAYS, OBSERVERS
from orchestrator.observers.events import Event, Outcome
from tasks.option import docstrings_of

PAGE = (Path(__file__).parents[1] / "docs" / "observers.md").read_text(encoding="utf-8")
OF_ALL = ("time", "run_id", "kind")


def table() -> str:
    """The table of events, a row a field."""
    union, _ = get_args(Event)
    rows = [row for model in get_args(union) for row in rows_of(model)]
    return "\n".join(["| kind | field | holds |", "|---|---|---|", *rows])


def rows_of(model: type[BaseModel]) -> list[str]:
    """The rows of a kind of event: what it is, then each field."""
    said = docstrings_of(model)
    told = [f"| | `{name}` | {plain(said.get(name))} |" for name in model.model_fields if name not in OF_ALL]
    return [f"| `{model.model_fields['kind'].default}` | | {plain(model.__doc__)} |", *told]


def plain(text: str | None) -> str:
    """A docstring as it is in a table."""
    return " ".join((text or "").replace("``", "`").split())


def test_the_table_of_events_is_what_the_models_say() -> None:
    # Given the models of events, when the page is looked at, then it has a row for each of their fields
    assert table() in PAGE
    # And names what is told of a client's order
    for name in Outcome.model_fields:
        assert f"`{name}`" in PAGE, name


def test_the_page_names_all_built_in_observers() -> None:
    # Given the registry, when the page is looked at, then each is in its table
    for name in (*OBSERVERS, *ALWAYS):
        assert f"\n| `{name}` |" in PAGE, name
