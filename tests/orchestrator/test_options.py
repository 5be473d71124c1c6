from __future__ import annotations

from typing import Annotated

import click
import pytest
from pydantic import BaseModel, Field

from orchestrator.options import check_together, options_of
from tasks.errors import ConfigurationError
from tasks.option import GROUPS, Option


class Training(BaseModel):
    epochs: Annotated[int, Field(ge=1), Option("N", group=GROUPS[0])] = 5
    """Passes over the data."""


class Config(BaseModel):
    kept: int = 0
    """No option, as it isn't marked."""
    judges: Annotated[tuple[str, ...], Option("NAME[,NAME…]", default="none")] = ()
    """Who judges: {judges}."""
    training: Training = Training()
    """How to train."""
    limit_s: Annotated[float, Option("SECONDS", needs="judges")] = 1.0
    """How long a judge has."""
    share: Annotated[float, Option(flag="part", excludes="limit_s")] = 1.0
    """How much is judged."""


def test_an_option_is_made_of_its_field_alone() -> None:
    # Given a config, when options are made of it, then those of its models stand in their places
    made = list(options_of(Config, {"judges": ["anna", "bert"]}))
    assert [option.opts for option in made] == [["--judges"], ["--epochs"], ["--limit"], ["--part"]]
    # And help, group and range are what the field says, names and what it needs or excludes filled in
    judges, epochs, limit, part = made
    assert judges.help == "Who judges: anna, bert."
    assert (limit.help, part.help) == ("How long a judge has. Needs --judges.", "How much is judged. Not with --limit.")
    assert (epochs.group, epochs.default, limit.group) == (GROUPS[0], 5, "")
    assert isinstance(epochs.type, click.IntRange)
    assert (epochs.type.min, epochs.type.max) == (1, None)


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        (Config(), ["limit_s"], "--limit means nothing without --judges: give both"),
        (Config(judges=("anna",)), ["judges", "share", "limit_s"], "--part and --limit exclude each other: give one"),
    ],
)
def test_options_that_dont_suit_each_other_are_refused(config: Config, given: list[str], message: str) -> None:
    # Given options that need or exclude each other, when they are checked, then the message names both
    with pytest.raises(ConfigurationError) as caught:
        check_together(config, given)
    assert str(caught.value) == message


@pytest.mark.parametrize("given", [[], ["share"], ["epochs"], ["kept", "training"]])
def test_options_that_suit_each_other_are_not(given: list[str]) -> None:
    # Given options of which none needs or excludes another that was given, when they are checked, then that is all
    check_together(Config(), given)
