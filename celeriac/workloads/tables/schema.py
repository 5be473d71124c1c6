"""What clients agree on of a table's columns, from their statistics alone, and a table's rows as a model takes them.

A number is scaled by mean and standard deviation of all clients' values, as by scikit-learn's ``StandardScaler``; where
it is missing it is the mean, so 0. A name is a 1 among zeros, as by ``OneHotEncoder``. A name that no client told is
``(other)``, if some client told that it has others, and else zeros alone. Missing names are ``(missing)``, if a client
has some.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from celeriac.workloads.tables.columns import Floats, in_order, names_of, numbers_of
from celeriac.workloads.tables.rows import Rows
from tasks.errors import ConfigurationError
from tasks.pooling import GroupsSummary, NumbersSummary
from tasks.statistics import Statistics

MISSING = "(missing)"
OTHER = "(other)"


class _Agreed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scale(_Agreed):
    """A column of numbers, which ``(number - mean) / deviation`` stands for."""

    kind: Literal["number"] = "number"
    mean: float = 0.0
    deviation: float = 1.0
    """Of all values, divided by their count; 1 where all are equal."""

    @classmethod
    def of(cls, summary: NumbersSummary) -> Scale:
        """Return the scale of what clients told."""
        count, mean = summary.count, summary.mean
        variance = (summary.variance or 0.0) * (count - 1) / count
        # What rounding makes of equal values is no deviation: the bound of scikit-learn's StandardScaler.
        epsilon = float(np.finfo(np.float64).eps)
        is_constant = variance <= count * epsilon * variance + (count * mean * epsilon) ** 2
        return cls(mean=mean, deviation=1.0 if is_constant else math.sqrt(variance))

    def names(self, column: str) -> list[str]:
        """Return the names of the model's inputs."""
        return [column]

    def inputs(self, rows: Rows, column: str) -> Floats:
        """Return a column of the rows as the model takes it, shape ``(n, 1)``."""
        numbers = numbers_of(rows, column, "the column's values are numbers at most clients")
        return np.nan_to_num((numbers - self.mean) / self.deviation)[:, None]


class Names(_Agreed):
    """A column of names, each a 1 among zeros."""

    kind: Literal["name"] = "name"
    values: tuple[str, ...]
    """Names that some client told, ascending; ``(missing)`` and ``(other)`` come last, if there are such."""

    @classmethod
    def of(cls, summary: GroupsSummary) -> Names:
        """Return the names that clients told."""
        beside = [name for name, count in ((MISSING, summary.missing), (OTHER, summary.other)) if count]
        return cls(values=(*in_order(list(summary.groups)), *beside))

    def names(self, column: str) -> list[str]:
        """Return the names of the model's inputs."""
        return [f"{column}={value}" for value in self.values]

    def inputs(self, rows: Rows, column: str) -> Floats:
        """Return a column of the rows as the model takes it, shape ``(n, values)``."""
        places = {value: place for place, value in enumerate(self.values)}
        nowhere = len(self.values)
        other = places.get(OTHER, nowhere)
        found = [
            places.get(MISSING, nowhere) if name is None else places.get(name, other) for name in names_of(rows, column)
        ]
        inputs = np.zeros((len(rows), nowhere + 1))
        inputs[np.arange(len(rows)), found] = 1
        return inputs[:, :nowhere]


class Schema(_Agreed):
    """What a model's inputs and targets are.

    Attributes:
        target: The target's column.
        columns: The other columns, by name in ascending order.
        classes: The target's classes; empty: it is a number.
        scale: The target's, if it is a number.
    """

    target: str
    columns: dict[str, Annotated[Scale | Names, Field(discriminator="kind")]]
    classes: tuple[str, ...] = ()
    scale: Scale = Scale()

    @property
    def num_outputs(self) -> int:
        """Numbers that a model returns of each row: one a class, or the scaled target."""
        return len(self.classes) or 1

    def names(self) -> list[str]:
        """Return the names of the model's inputs."""
        return [name for column, agreed in self.columns.items() for name in agreed.names(column)]

    def inputs(self, rows: Rows) -> Floats:
        """Return the model's inputs, shape ``(n, inputs)``.

        Raises:
            DataMissingError: If the rows lack a column, or one holds something else than was agreed on.
        """
        return np.hstack([agreed.inputs(rows, column) for column, agreed in self.columns.items()])

    def targets(self, rows: Rows) -> npt.NDArray[np.int64] | Floats:
        """Return the place of each row's class among the classes, int64, or its scaled number, float64; shape ``(n,)``.

        Raises:
            DataMissingError: If there is another class, or no number.
        """
        if not self.classes:
            not_finite = np.isnan(numbers_of(rows, self.target, "the target is a number at most clients"))
            if not_finite.any():
                raise rows.wrong(int(not_finite.argmax()), self.target, "is no finite number: a target has to be one")
            return self.scale.inputs(rows, self.target)[:, 0]
        places = {name: place for place, name in enumerate(self.classes)}
        names = names_of(rows, self.target)
        for index, name in enumerate(names):
            if name not in places:
                allowed = ", ".join(self.classes[:10])
                raise rows.wrong(
                    index, self.target, f"is none of the classes that clients agreed on, {allowed}: classes= names all"
                )
        return np.array([places[name] for name in names if name is not None], np.int64)


def agree(
    statistics: Statistics, target: str, *, dropped: Collection[str] = (), classes: Collection[str] = ()
) -> Schema:
    """Return what follows from what clients told.

    A column counts that more than half of those clients have that told anything, and of which one told values.

    Args:
        statistics: What clients told.
        target: The target's column.
        dropped: Columns that don't count.
        classes: The target's classes, if they are known beforehand.

    Raises:
        ConfigurationError: If no client told of the target, it has one class alone, or there is no other column.
    """
    if target not in statistics.columns:
        raise ConfigurationError(
            f"no client tells of the target {target!r}: of fewer than {statistics.min_count} values none does; "
            f"they told of {', '.join(sorted(statistics.columns))}"
        )
    told_of = {client for column in statistics.columns.values() for client in column.clients}
    num_clients = len(told_of | statistics.withheld.keys())
    columns: dict[str, Scale | Names] = {}
    for name in sorted(statistics.columns.keys() - {target, *dropped}):
        if 2 * _num_with(statistics, name) > num_clients:
            summary = statistics.columns[name].over_all
            columns[name] = Names.of(summary) if isinstance(summary, GroupsSummary) else Scale.of(summary)
    if not columns:
        raise ConfigurationError(f"beside the target {target!r} there is no column that most clients have")
    told = statistics.columns[target].over_all
    if isinstance(told, NumbersSummary) and not classes:
        return Schema(target=target, columns=columns, scale=Scale.of(told))
    found = tuple(classes) or (in_order(list(told.groups)) if isinstance(told, GroupsSummary) else ())
    if len(found) < 2:
        few = f"{found[0]!r} alone" if found else "none"
        raise ConfigurationError(
            f"the target {target!r} has the classes that clients told of, {few}: of a class of fewer than "
            f"{statistics.min_count} rows none is told; two are needed, and classes=A+B names them"
        )
    return Schema(target=target, columns=columns, classes=found)


def _num_with(statistics: Statistics, name: str) -> int:
    """Return how many of the clients that told anything have a column."""
    telling = statistics.columns[name].clients.keys()
    return len(telling | {client for client, names in statistics.withheld.items() if name in names})
