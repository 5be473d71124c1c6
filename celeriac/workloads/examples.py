"""Labelled examples in memory, the built-in workloads' form of data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.errors import DataMissingError

Indices = npt.NDArray[np.int64]
"""Positions of examples in a data set, shape ``(n,)``, counted from 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Inputs and the class of each, in the same order.

    Attributes:
        inputs: float32, shape ``(n, ...)``: one example a row.
        targets: int64, shape ``(n,)``: the class of each example.

    Raises:
        DataMissingError: If a dtype or shape is wrong.
    """

    inputs: npt.NDArray[np.float32]
    targets: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check dtypes and shapes."""
        if self.inputs.dtype != np.float32 or self.targets.dtype != np.int64:
            raise DataMissingError(
                f"inputs are {self.inputs.dtype}, targets {self.targets.dtype}: they have to be float32 and int64"
            )
        if self.targets.ndim != 1 or self.inputs.shape[:1] != self.targets.shape:
            raise DataMissingError(
                f"inputs have shape {self.inputs.shape}, targets {self.targets.shape}: one target an input is needed"
            )

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.targets)

    def subset(self, indices: Indices) -> Examples:
        """Return a copy of the examples at ``indices``, in their order."""
        return Examples(self.inputs[indices], self.targets[indices])

    def labels(self) -> dict[str, int]:
        """Return how many examples each class has, in ascending order of classes; absent classes are left out."""
        classes, counts = np.unique(self.targets, return_counts=True)
        return {str(label): int(count) for label, count in zip(classes, counts, strict=True)}
