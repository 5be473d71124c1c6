"""Marking a field as an option: of the command line, or a variable of a client's environment."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

DATA = "Data and model"
ALGORITHM = "Algorithm and training"
ROUNDS = "Rounds and clients"
HOSTILE = "Hostile clients"
TRANSPORT = "Transport"
OUTPUT = "Evaluation and output"
GROUPS = (DATA, ALGORITHM, ROUNDS, HOSTILE, TRANSPORT, OUTPUT)
"""What a user wants to set, in the order in which help and docs list it."""
_BOUNDS = ("ge", "gt", "le", "lt")


@dataclass(frozen=True, slots=True)
class Option:
    """Marks a field that is an option, with the field's docstring as its help.

    Attributes:
        metavar: What stands for the value in the help; None: the type's name.
        flag: The option without its dashes, or the variable; None: it follows from the field's name.
        default: What the help says in place of the default; None: the default.
        capped: Whether the help says the most that is allowed, too.
        group: Which of the ``GROUPS`` it is listed in; empty: there are none.
        needs: The field without which this one means nothing.
        excludes: The field that can't be given beside this one.
    """

    metavar: str | None = None
    flag: str | None = None
    default: str | None = None
    capped: bool = True
    group: str = ""
    needs: str = ""
    excludes: str = ""


@cache
def docstrings_of(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the docstrings of a model's fields by their names; those of its bases, and of models among them, too.

    Pydantic could read them as the model is made, in each process that starts; help and docs alone want them.
    """
    bases = [base for base in reversed(model.__mro__) if issubclass(base, BaseModel) and base is not BaseModel]
    among = [type(field.default) for field in model.model_fields.values() if isinstance(field.default, BaseModel)]
    found = dict(pair for base in bases for pair in _docstrings_in(base))
    return found | {name: text for each in among for name, text in docstrings_of(each).items()}


def _docstrings_in(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    module = ast.parse(Path(inspect.getfile(model)).read_text(encoding="utf-8"))
    [body] = [node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == model.__name__]
    for pair in pairwise(body):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, inspect.cleandoc(text)


def kind_of(field: FieldInfo) -> object:
    """Return the type of a field's value, if it has one."""
    return next((kind for kind in get_args(field.annotation) if kind is not type(None)), field.annotation)


def bounds_of(field: FieldInfo) -> dict[str, float]:
    """Return the bounds of a field's numbers, by ``ge``, ``gt``, ``le`` and ``lt``."""
    return {name: getattr(item, name) for item in field.metadata for name in _BOUNDS if hasattr(item, name)}


def allowed(field: FieldInfo) -> str:
    """Say in words which values a field allows; empty if that isn't a matter of its type."""
    for choices in (field.annotation, kind_of(field)):
        if get_origin(choices) is Literal:
            return f"one of {', '.join(get_args(choices))}"
    kind, bounds = kind_of(field), bounds_of(field)
    if kind not in (int, float):
        return ""
    words = {"ge": "from", "gt": "over", "le": "to", "lt": "to under"}
    limits = [f"{word} {bounds[name]}" for name, word in words.items() if name in bounds]
    return " ".join(["a whole number" if kind is int else "a number", *limits])
