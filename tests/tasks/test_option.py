from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from tasks.option import allowed, docstrings_of


class Settings(BaseModel):
    count: Annotated[int, Field(ge=1, le=9)] = 1
    most: Annotated[int | None, Field(ge=1)] = None
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    cut: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    seed: int = 0
    when: Literal["now", "later"] = "now"
    name: str = ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("count", "a whole number from 1 to 9"),
        ("most", "a whole number from 1"),
        ("share", "a number over 0 to 1"),
        ("cut", "a number from 0 to under 0.5"),
        ("seed", "a whole number"),
        ("when", "one of now, later"),
        ("name", ""),
    ],
)
def test_which_values_a_field_allows_is_told_in_words(name: str, words: str) -> None:
    # Given a field, when it is asked which values it allows, then its type and bounds say so
    assert allowed(Settings.model_fields[name]) == words


class Described(BaseModel):
    count: int = 1
    """How many,
    all in all."""
    silent: int = 0


class More(Described):
    "What the model is, not what a field is."

    inner: Described = Described()
    rest: str = ""
    """What is left."""


class Around(BaseModel):
    within: More = More()
    """What is within."""
    count: Literal[2] = 2


def test_docstrings_of_fields_are_found_in_bases_and_in_models_among_the_fields() -> None:
    # Given a model with a base, when its fields' docstrings are asked for, then each is under its field's name
    assert docstrings_of(More) == {"count": "How many,\nall in all.", "rest": "What is left."}
    # And where a field is a model, so are its fields' docstrings
    assert docstrings_of(Around) == {
        "within": "What is within.",
        "count": "How many,\nall in all.",
        "rest": "What is left.",
    }
