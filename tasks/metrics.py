"""Metrics: numbers by name, what is declared of them once, and their averages over clients."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from tasks.errors import ConfigurationError

MAX_METRICS = 100
"""Metrics that an evaluation or a training may have."""
MAX_NAME_LENGTH = 100
NAME_PATTERN = r"^\w[\w .:/@%+()\[\]-]*$"
"""What a metric may be called: a letter, a digit or an underscore, then these and ``.:/@%+-()[]`` or blanks, 100
characters in all. To say their number in the pattern takes each process that starts 40 ms."""
MetricName = Annotated[str, Field(pattern=NAME_PATTERN, max_length=MAX_NAME_LENGTH)]
Metrics = Annotated[
    dict[MetricName, Annotated[float, Field(allow_inf_nan=False)]],
    Field(max_length=MAX_METRICS),
]
"""Finite numbers by name."""
Better = Literal["higher", "lower", "none"]
Average = Literal["examples", "clients", "sum", "max"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What is known of a metric beside its name.

    Attributes:
        better: In which direction it gets better: ``higher``, ``lower``, or ``none`` if in neither.
        average: How the clients' values become one: by their ``examples``, all ``clients`` alike, their ``sum``, or
            the ``max``.
        least: The least value that it can have, where there is one: a client's that is less doesn't count.
        most: The greatest, likewise.
    """

    better: Better = "none"
    average: Average = "examples"
    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        for name, kind in (("better", Better), ("average", Average)):
            if (value := getattr(self, name)) not in get_args(kind):
                raise ConfigurationError(f"Metric({name}={value!r}): one of {', '.join(get_args(kind))} is allowed")
        ends = [end for end in (self.least, self.most) if end is not None]
        if not all(isinstance(end, int | float) and math.isfinite(end) for end in ends) or ends != sorted(ends):
            given = f"least={self.least!r}, most={self.most!r}"
            raise ConfigurationError(f"Metric({given}): numbers, the least first, or None are allowed")

    def gain(self, value: float) -> float:
        """Return a number that is greater, the better ``value`` is."""
        return -value if self.better == "lower" else value


Declared = Mapping[str, Metric]
"""What a workload declares of its metrics, by name, the one it goes by first."""
KNOWN: Declared = {
    "loss": Metric("lower"),
    "train_loss": Metric("lower"),
    "accuracy": Metric("higher", least=0, most=1),
}
"""What is known of these names where a workload doesn't declare something else; an accuracy is a share in any case."""


def metric_of(name: str, declared: Declared) -> Metric:
    """Return what is known of a metric."""
    return declared.get(name) or KNOWN.get(name) or Metric()


def out_of_range(metrics: Mapping[str, float], declared: Declared) -> str:
    """Say which metric has a value that it can't have, and what is allowed; empty if none has."""
    for name, value in metrics.items():
        metric, known = metric_of(name, declared), KNOWN.get(name, Metric())
        least = known.least if metric.least is None else metric.least
        most = known.most if metric.most is None else metric.most
        if (least is not None and value < least) or (most is not None and value > most):
            return f"{name} is {value:g}: {_in_words(least, most)} is allowed"
    return ""


def _in_words(least: float | None, most: float | None) -> str:
    if least is None:
        return f"up to {most:g}"
    return f"from {least:g} on" if most is None else f"{least:g} to {most:g}"


def first_declared(declared: Declared) -> str | None:
    """Return the first metric that is declared to be better in some direction; None if none is."""
    return next((name for name, metric in declared.items() if metric.better != "none"), None)


@dataclass(frozen=True, slots=True)
class Averages:
    """Metrics of several clients in one.

    Attributes:
        metrics: The averages, sorted by name.
        partial: How many clients an average is of, where it isn't of all.
    """

    metrics: Metrics
    partial: Mapping[str, int]


def averaged(told: Sequence[tuple[int, Mapping[str, float]]], declared: Declared) -> Averages:
    """Return the averages of clients' metrics, each over those clients that report it, in its range.

    There are ``MAX_METRICS`` at most, whatever clients make up: those that are declared or known, then those that most
    report.

    Args:
        told: Each client's number of examples and its metrics, in an order that is the same in each run.
        declared: What is declared of them.
    """
    metrics, partial = {}, {}
    counted = [(num_examples, _in_range(reported, declared)) for num_examples, reported in told]
    for name in _names([reported for _, reported in counted], declared):
        values = [(num_examples, reported[name]) for num_examples, reported in counted if name in reported]
        metrics[name] = _average(values, metric_of(name, declared).average)
        if len(values) < len(told):
            partial[name] = len(values)
    known = finite(metrics)
    return Averages(known, {name: number for name, number in partial.items() if name in known})


def _in_range(metrics: Mapping[str, float], declared: Declared) -> Mapping[str, float]:
    """Return those metrics whose values they can have."""
    return {name: value for name, value in metrics.items() if not out_of_range({name: value}, declared)}


def _names(told: Collection[Mapping[str, float]], declared: Declared) -> list[str]:
    """Return the names of the metrics that are averaged, sorted."""
    reports = Counter(name for metrics in told for name in metrics)
    first = sorted(reports, key=lambda name: (name not in declared and name not in KNOWN, -reports[name], name))
    return sorted(first[:MAX_METRICS])


class Spread(BaseModel):
    """How far clients are from each other in a metric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deviation: float
    """The standard deviation of the clients' values, each client alike."""
    worst: float | None = None
    """The worst client's value; None where the metric is better in no direction."""


Spreads = dict[MetricName, Spread]
"""The spread of each metric, by its name."""


def spread_of(told: Collection[Mapping[str, float]], declared: Declared) -> Spreads:
    """Return the spread of each metric that two clients or more report, sorted by name; see :func:`averaged`."""
    spread = {}
    counted = [_in_range(metrics, declared) for metrics in told]
    for name in _names(counted, declared):
        values = [metrics[name] for metrics in counted if name in metrics]
        metric = metric_of(name, declared)
        worst = min(values, key=metric.gain) if metric.better != "none" else None
        if len(values) > 1:
            spread[name] = Spread(deviation=statistics.pstdev(values), worst=worst)
    return spread


def _average(values: Sequence[tuple[int, float]], average: Average) -> float:
    """Return one number for all clients'; by examples it is sum_k(n_k m_k) / sum_k(n_k), NaN without any."""
    if average == "sum":
        return sum(value for _, value in values)
    if average == "max":
        return max(value for _, value in values)
    weights = [num_examples if average == "examples" else 1 for num_examples, _ in values]
    if not (total := sum(weights)):
        return math.nan
    return sum(weight / total * value for weight, (_, value) in zip(weights, values, strict=True))


def digits(value: float) -> str:
    """Return a number as it is shown: to four decimals, or to four digits if these would tell nothing."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.4g}"


def in_words(
    metrics: Mapping[str, float],
    partial: Mapping[str, int] | None = None,
    num_clients: int = 0,
    spread: Mapping[str, Spread] | None = None,
) -> str:
    """Return metrics as they are told, like ``loss 0.5000, auc 0.9312 (2 of 3 clients, worst 0.8120)``.

    Args:
        metrics: The metrics.
        partial: See :class:`Averages`.
        num_clients: How many clients the others are of.
        spread: How far clients are from each other.
    """
    notes: dict[str, list[str]] = {name: [] for name in metrics}
    for name, number in (partial or {}).items():
        notes[name].append(f"{number} of {num_clients} clients")
    for name, each in (spread or {}).items():
        worst = [f"worst {digits(each.worst)}"] if each.worst is not None else []
        notes[name] += [*worst, f"deviation {digits(each.deviation)}"]
    of = {name: f" ({', '.join(told)})" if told else "" for name, told in notes.items()}
    return ", ".join(f"{name} {digits(value)}{of[name]}" for name, value in metrics.items())


def finite(metrics: Mapping[str, float]) -> Metrics:
    """Return those metrics that are numbers: a model that diverged has a loss that JSON can't hold."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
