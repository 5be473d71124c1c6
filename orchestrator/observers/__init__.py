"""Who is told of a run's events while it goes on, an observer a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console

from orchestrator.config import RunConfig
from orchestrator.observers.events import Event
from tasks.errors import ConfigurationError
from tasks.plugins import load_factory, split_spec

OBSERVERS = {
    "console": "orchestrator.observers.console:ConsoleDisplay",
    "plot": "orchestrator.observers.plot:Plot",
    "energy": "orchestrator.observers.energy:EnergyEstimate",
    "events": "orchestrator.observers.events_file:EventsFile",
    "log": "orchestrator.observers.log:Log",
    "page": "orchestrator.observers.page:Page",
    "prometheus": "orchestrator.observers.prometheus:Prometheus",
    "csv": "orchestrator.observers.csv_file:CsvFile",
    "tensorboard": "orchestrator.observers.tensorboard:TensorBoard",
    "mlflow": "orchestrator.observers.mlflow:Mlflow",
    "wandb": "orchestrator.observers.wandb:WeightsAndBiases",
    "otel": "orchestrator.observers.otel:Otel",
}
"""Names for ``--observe``, and where each is defined: what makes an observer out of an :class:`ObserverContext`."""

ALWAYS = ("log", "events")
"""Observers of every run, named or not."""


@dataclass(frozen=True, slots=True)
class ObserverContext:
    """What an observer is made of.

    Attributes:
        folder: The run's folder.
        config: The run's configuration.
        parameter: What is written after the observer's name and a colon; empty if nothing is.
        console: The terminal, or what standard error is in its place (``console.is_terminal``).
    """

    folder: Path
    config: RunConfig
    parameter: str
    console: Console


class Observer(Protocol):
    """Is told a run's events, in a thread of its own: it may take its time, and what it raises is logged."""

    def observe(self, event: Event) -> None:
        """Take an event, which is never changed."""

    def close(self) -> None:
        """End: no event comes any more."""


Factory = Callable[[ObserverContext], Observer]


def load_observer(spec: str) -> tuple[Factory, str]:
    """Return what makes an observer, by ``NAME[:PARAMETER]`` or ``module:name[:PARAMETER]``, and the parameter.

    Raises:
        UnknownNameError: If there is no such name.
        ConfigurationError: If it takes no such parameter.
        LoadError: If it can't be imported, or is neither an observer's class nor a function annotated to return one.
    """
    name, parameter = split_spec(spec, OBSERVERS)
    factory: Factory = load_factory("observer", name, OBSERVERS, "Observer", _is_observer)
    getattr(factory, "check", lambda _: None)(parameter)
    return factory, parameter


def missing(observer: str, package: str) -> ConfigurationError:
    """Return what to raise where the package isn't installed that an observer takes; an extra of its name has it."""
    return ConfigurationError(f"observer {observer!r} takes {package}: pip install 'celeriac[{observer}]'")


def _is_observer(kind: object) -> bool:
    return isinstance(kind, type) and all(callable(getattr(kind, name, None)) for name in ("observe", "close"))
