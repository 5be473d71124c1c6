"""Marking a field as an option of the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """Marks a field that is an option of the command line, with the field's docstring as its help.

    Attributes:
        metavar: What stands for the value in the help; None: the type's name.
        flag: The option without its dashes; None: the field's name without its unit.
        default: What the help says in place of the default; None: the default.
        capped: Whether the help says the most that is allowed, too.
    """

    metavar: str | None = None
    flag: str | None = None
    default: str | None = None
    capped: bool = True
