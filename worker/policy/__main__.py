"""The command ``python -m worker.policy``: writes a policy to begin with, checks one, says in words what it means."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

from tasks.command import telling_errors
from tasks.errors import ConfigurationError
from tasks.trust.enrolment import Enrolment
from tasks.trust.keys import fingerprint
from worker.policy.default import FILE, write_default
from worker.policy.rules import ORDERS, Rules, read_rules
from worker.settings import DEFAULT_WORKLOAD, NO_POLICY, enrolment_folder

_file = click.argument("file", type=click.Path(path_type=Path), required=False)


@click.group()
def main() -> None:
    """Write a site's policy to begin with, check one, or say what it means.

    FILE is the one that CLIENT_POLICY names, or else that of this site's enrolment.
    """


@main.command()
@telling_errors
def init() -> None:
    """Write the policy that an enrolled client begins with, beside what the operator gave it."""
    own = Enrolment(enrolment_folder(os.environ))
    orchestrator = fingerprint(own.site.orchestrator)
    written = write_default(own.folder, orchestrator, os.environ.get("CLIENT_WORKLOAD") or DEFAULT_WORKLOAD)
    if written is None:
        raise ConfigurationError(f"{own.folder / FILE}: it is there already")
    click.echo(f"{written}: read it, and change what isn't right")


def _read(file: Path | None) -> tuple[Path, Rules]:
    """Return a file and its rules.

    Raises:
        ConfigurationError: If it isn't right.
    """
    named = file or os.environ.get("CLIENT_POLICY")
    if named == NO_POLICY:
        raise ConfigurationError(f"CLIENT_POLICY={NO_POLICY}: there is no policy, and nothing is refused")
    path, is_enrolled = (Path(named), False) if named else (enrolment_folder(os.environ) / FILE, True)
    with suppress(ConfigurationError):  # a user without a home folder isn't enrolled there
        is_enrolled = Enrolment(enrolment_folder(os.environ)).is_accepted
    rules = read_rules(path, is_enrolled=is_enrolled)
    if changed := [*rules.changed_code()]:
        raise ConfigurationError(f"{path}: {changed[0]}")
    return path, rules


@main.command()
@_file
@telling_errors
def check(file: Path | None) -> None:
    """Say whether the policy in FILE is right; exit code 2 if it isn't."""
    click.echo(f"{_read(file)[0]}: right")


@main.command()
@_file
@telling_errors
def explain(file: Path | None) -> None:
    """Say in words what the policy in FILE means."""
    for line in explained(_read(file)[1]):
        click.echo(line)


def explained(rules: Rules) -> Iterator[str]:
    """Yield what rules mean, a line each."""
    refused = [name for name in ORDERS if name not in rules.orders]
    yield f"orders: {_names(rules.orders)}; refused: {_names(refused)}"
    own_key = "the one that the client is enrolled with"
    yield f"orchestrators: {own_key if rules.orchestrators is None else _names(rules.orchestrators)}"
    yield f"workloads: {'the one of CLIENT_WORKLOAD' if rules.workloads is None else _names(rules.workloads)}"
    yield f"algorithms: {_names(rules.algorithms)}"
    yield f"compressions: {_names(rules.compressions)}"
    yield f"settings that a run may give: {_names(rules.run_config)}"
    yield f"passes over the data an order: {_limit(rules.max_epochs)}"
    yield f"seconds an order: {_limit(rules.max_timeout_s)}"
    yield f"orders a day: {_limit(rules.max_orders_per_day)}"
    yield f"examples needed to train or evaluate: {rules.min_examples}"
    tells = rules.tells
    rounded = (
        "exactly" if tells.examples_rounded_to == 1 else f"rounded down to multiples of {tells.examples_rounded_to}"
    )
    yield f"told of the data: the number of examples, {rounded}{'; examples a label' if tells.labels else ''}"
    yield f"told of the machine: {'processors, memory, accelerator' if tells.hardware else 'nothing'}"
    yield f"metrics told: {_names(tells.metrics)}"
    yield f"results told beside the model: {_names(tells.results)}"
    yield f"texts of exceptions: {'told' if tells.errors else 'not told'}"
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
