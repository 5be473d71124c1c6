"""The one way by which text that somebody else wrote comes into messages, records, logs and onto terminals."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import BeforeValidator

MAX_LENGTH = 2_000
"""Characters of a text that are shown."""


def readable(text: object) -> object:
    r"""Return a text that can stand in a message, a log or on a terminal: one line, and not too long.

    What could move a cursor, break a line or turn its direction is shown: a newline as ``\n``, an escape as ``\x1b``.
    What isn't a text is returned as it is, for validation to refuse.
    """
    if not isinstance(text, str):
        return text
    text = text[:MAX_LENGTH].strip()
    return text if text.isprintable() else "".join(map(_shown, text))[:MAX_LENGTH]


def readable_lines(text: str) -> str:
    """Return a text of several lines, each as :func:`readable` has it, and none at a line's beginning."""
    return "\n".join(f"  {readable(line)}" for line in text.split("\n"))


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()


Readable = BeforeValidator(readable)
Reason = Annotated[str, Readable]
"""Why something is as it is, in words."""
