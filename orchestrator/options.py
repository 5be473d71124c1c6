"""The options of the command line that fields of a model are: type, range, default and help come from the field."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tasks.errors import ConfigurationError
from tasks.option import GROUPS, Option, bounds_of, docstrings_of, kind_of
from tasks.run_config import RunSetting, parse_run_config

_PATHS = ("DIR", "FILE")
"""What stands in the help for a value that is a path."""


class GroupedOption(click.Option):
    """An option of the command line that is listed in a group.

    Args:
        group: One of ``tasks.option.GROUPS``.
        settings: As for any option.
    """

    def __init__(self, *declarations: Any, group: str = "", **settings: Any) -> None:
        super().__init__(*declarations, **settings)
        self.group = group


class OneLineCommand(click.Command):
    """A command that says of a wrong option, too, one line that begins with ``error: ``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options."""
        try:
            return super().parse_args(ctx, args)
        except (click.UsageError, ConfigurationError) as error:
            message = error.format_message() if isinstance(error, click.UsageError) else str(error)
            click.echo(f"error: {' '.join(message.split())}", err=True)
            ctx.exit(ConfigurationError.exit_code)


class GroupedCommand(OneLineCommand):
    """A command whose help lists its options by their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups, and those options last that are in none."""
        rows: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for parameter in self.get_params(ctx):
            if (row := parameter.get_help_record(ctx)) is not None:
                rows.setdefault(getattr(parameter, "group", "") or "Help", []).append(row)
        for group, listed in rows.items():
            if listed:
                with formatter.section(group):
                    formatter.write_dl(listed)


def options_of(model: type[BaseModel], known: Mapping[str, Iterable[str]]) -> Iterator[GroupedOption]:
    """Yield an option for each field that is marked as one, and for those of models among the fields, in order.

    Args:
        model: The model.
        known: The names to list in the help, by what stands there in braces for them.
    """
    flags = flags_of(model)
    told = docstrings_of(model)
    for name, field, mark in _marked(model):
        yield _option(name, field, mark, flags[name], _help(told[name], mark, known, flags))


def check_together(config: BaseModel, given: Collection[str]) -> None:
    """Check that options which were given suit each other, as far as their fields say.

    Args:
        config: What was made of all options.
        given: The fields whose options were given.

    Raises:
        ConfigurationError: If they don't.
    """
    flags = flags_of(type(config))
    for name, _, mark in _marked(type(config)):
        if name in given and mark.excludes in given:
            raise ConfigurationError(f"{flags[name]} and {flags[mark.excludes]} exclude each other: give one")
        if name in given and mark.needs and not getattr(config, mark.needs):
            raise ConfigurationError(f"{flags[name]} means nothing without {flags[mark.needs]}: give both")


def _marked(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo, Option]]:
    """Yield the fields that are marked as options, those of models among the fields in their places."""
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from _marked(type(field.default))
        for mark in field.metadata:
            if isinstance(mark, Option):
                yield name, field, mark


def flags_of(model: type[BaseModel]) -> dict[str, str]:
    """Return the option of each field that is marked as one, by the field's name."""
    return {name: f"--{mark.flag or name.removesuffix('_s').replace('_', '-')}" for name, _, mark in _marked(model)}


def _help(told: str, mark: Option, known: Mapping[str, Iterable[str]], flags: Mapping[str, str]) -> str:
    """Return what the help says of an option, of which its docstring tells."""
    text = " ".join(told.split()).format_map({kind: ", ".join(names) for kind, names in known.items()})
    text += f" Needs {flags[mark.needs]}." if mark.needs else ""
    return text + (f" Not with {flags[mark.excludes]}." if mark.excludes else "")


def _option(name: str, field: FieldInfo, mark: Option, flag: str, told: str) -> GroupedOption:
    value: dict[str, Any] = {} if field.default is None else {"default": field.default}
    if field.annotation is bool:
        flag += f"/--no-{flag.removeprefix('--')}"
    elif field.annotation == tuple[str, ...]:
        value = {"default": ",".join(field.default), "callback": lambda _context, _parameter, text: names(text)}
    elif get_origin(field.annotation) is dict:
        read = _READ[get_args(field.annotation)[1]]
        value = {"multiple": True, "callback": lambda _context, _parameter, texts: read(texts)}
    else:
        value["type"] = _type(field, mark)
    shown: dict[str, Any] = {"help": told, "metavar": mark.metavar, "show_default": mark.default, "group": mark.group}
    return GroupedOption([flag, name], **shown, **value)


def _type(field: FieldInfo, mark: Option) -> click.ParamType[Any] | None:
    """Return what else than the default's type says which values are allowed."""
    if get_origin(field.annotation) is Literal:
        return click.Choice(get_args(field.annotation))
    if mark.metavar in _PATHS:
        return click.Path(path_type=Path)
    bounds = bounds_of(field)
    if not bounds:
        return None
    in_range: Callable[..., click.ParamType[Any]] = click.IntRange if kind_of(field) is int else click.FloatRange
    least, most = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    return in_range(least, most if mark.capped else None, min_open="gt" in bounds, max_open="lt" in bounds)


def _numbers(texts: tuple[str, ...]) -> dict[str, float]:
    numbers = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            numbers[name.strip()] = float(value)
        except ValueError:
            raise click.BadParameter(f"{text!r}: write a name and a number, like mu=0.01") from None
    return numbers


def _texts(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise click.BadParameter(f"{text!r}: write NAME=VALUE")
        found[name] = value
    return found


_READ: dict[object, Callable[[tuple[str, ...]], Mapping[str, object]]] = {
    float: _numbers,
    str: _texts,
    RunSetting: lambda texts: parse_run_config(",".join(texts)) if texts else {},
}
"""How the texts of an option with a name in each are read, by the kind of their values."""


def names(text: str) -> tuple[str, ...]:
    """Return the names in a text that has commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
