"""The files by which a program is given a model, and says what it has done."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.arrays import Arrays, decode, encode
from tasks.errors import ArraysError
from tasks.user_code import UserCodeError

_ADVICE = "write to another name, and rename that when it is whole"


@dataclass(frozen=True, slots=True)
class Results:
    """What a program has written, whole, and whether its time was over before it ended."""

    task: str
    update: Arrays | None
    numbers: Mapping[str, float]
    was_stopped: bool

    def count(self, name: str, default: int) -> int:
        """Return one of the numbers that are counts; 1e+05 is one.

        Raises:
            UserCodeError: If it isn't whole.
        """
        value = self.numbers.get(name, default)
        if not float(value).is_integer():
            raise UserCodeError(f"{self.task}: FL_METRICS has {name}={value}: a whole number is needed")
        return int(value)

    def metrics(self, *others: str) -> dict[str, float]:
        """Return the numbers but for these."""
        return {name: value for name, value in self.numbers.items() if name not in others}


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a program, in a folder that lasts as long as it runs."""

    folder: Path

    @property
    def parameters(self) -> Path:
        """The model that it is given; there is none for ``initial`` and ``count``."""
        return self.folder / "parameters.safetensors"

    @property
    def update(self) -> Path:
        """The arrays that it writes."""
        return self.folder / "update.safetensors"

    @property
    def metrics(self) -> Path:
        """The numbers that it writes."""
        return self.folder / "metrics.json"

    def write(self, parameters: Arrays) -> None:
        """Write the model that the program is given."""
        with self.parameters.open("wb") as file:
            file.writelines(encode(parameters))

    def read(self, task: str, *, was_stopped: bool) -> Results:
        """Return what the program of a task has written.

        Raises:
            UserCodeError: If it can't be read.
        """
        update = read_arrays(self.update, f"{task}: FL_UPDATE") if self.update.exists() else None
        return Results(task, update, _read_numbers(self.metrics, task), was_stopped)

    def told(self) -> dict[str, str]:
        """Return the variables that say where they are."""
        paths = {"FL_PARAMETERS": self.parameters, "FL_UPDATE": self.update, "FL_METRICS": self.metrics}
        return {name: str(path) for name, path in paths.items()}


def read_arrays(path: Path, what: str) -> Arrays:
    """Return the arrays of a file.

    Raises:
        UserCodeError: If it isn't whole; ``what`` begins the message.
    """
    try:
        return decode(path.read_bytes())
    except ArraysError as error:
        raise UserCodeError(f"{what}: {error}; {_ADVICE}") from None


def _read_numbers(path: Path, task: str) -> dict[str, float]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserCodeError(f"{task}: FL_METRICS is no JSON: {error}; {_ADVICE}") from None
    if not isinstance(found, dict) or not all(map(_is_number, found.values())):
        raise UserCodeError(f'{task}: FL_METRICS is no object of numbers by name, like {{"loss": 0.5}}')
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (type(value) is int and abs(value) <= sys.float_info.max)
