"""The command ``python -m worker.policy``: checks a site's policy, and says in words what it means."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tasks.errors import ConfigurationError, FederationError
from tasks.plugins import near_name
from tasks.readable import readable
from worker.handlers import KINDS, load_kinds
from worker.policy.rules import Rules, read_rules

_orders = click.option(
    "--orders",
    envvar="CLIENT_ORDERS",
    default="",
    metavar="MODULE:NAME[,…]",
    help="Kinds of orders of your own, as the variable CLIENT_ORDERS names them.",
)


@click.group()
def main() -> None:
    """Check a site's policy, or say what it means."""


def _read(path: Path, orders: str) -> Rules:
    """Return a file's rules; end with its error if it isn't right."""
    try:
        rules = read_rules(path)
        kinds = [*KINDS, *(kind.order.name for kind in load_kinds(filter(None, orders.split(","))))]
        for name in rules.orders:
            if name not in kinds:
                raise ConfigurationError(f"{path}: orders: {name!r}: {near_name(name, kinds)}")
        if changed := [*rules.changed_code()]:
            raise ConfigurationError(f"{path}: {changed[0]}")
    except FederationError as error:
        click.echo(f"error: {readable(str(error))}", err=True)
        sys.exit(error.exit_code)
    return rules


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@_orders
def check(file: Path, orders: str) -> None:
    """Say whether the policy in FILE is right; exit code 2 if it isn't."""
    _read(file, orders)
    click.echo(f"{file}: right")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@_orders
def explain(file: Path, orders: str) -> None:
    """Say in words what the policy in FILE means."""
    for line in explained(_read(file, orders)):
        click.echo(line)


def explained(rules: Rules) -> Iterator[str]:
    """Yield what rules mean, a line each."""
    refused = [name for name in KINDS if name not in rules.orders]
    yield f"orders: {_names(rules.orders)}; refused: {_names(refused)}"
    yield f"algorithms: {_names(rules.algorithms)}"
    yield f"compressions: {_names(rules.compressions)}"
    yield f"passes over the data an order: {_limit(rules.max_epochs)}"
    yield f"seconds an order: {_limit(rules.max_timeout_s)}"
    yield f"orders a day: {_limit(rules.max_orders_per_day)}"
    yield f"training examples needed to take part: {rules.min_examples}"
    tells = rules.tells
    rounded = (
        "exactly" if tells.examples_rounded_to == 1 else f"rounded down to multiples of {tells.examples_rounded_to}"
    )
    yield f"told of the data: the number of examples, {rounded}{'; examples a label' if tells.labels else ''}"
    yield f"told of the machine: {'processors, memory, accelerator' if tells.hardware else 'nothing'}"
    yield f"metrics told: {_names(tells.metrics)}"
    if rules.protects is None:
        yield "updates: as training made them"
    else:
        clip, noise = rules.protects.clip, rules.protects.noise
        yield f"updates: clipped to an L2 norm of {clip:g}, with noise of standard deviation {noise:g}"


def _names(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names) or "none"


def _limit(most: float | None) -> str:
    return "no limit" if most is None else f"at most {most:.15g}"


if __name__ == "__main__":
    main()
