"""Results of training that aren't the model: named arrays, and for each what becomes of all clients' in a round.

In one mapping with a model's parameters the result ``events`` is named ``@results/events``, as an array of a set is.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import ml_dtypes
import numpy as np

from tasks import auxiliary
from tasks.arrays import Array, Arrays, spec_of
from tasks.described import first_of
from tasks.errors import ArraysError, ConfigurationError

Reduction = Literal["sum", "mean", "max", "concat"]

KIND = "results"
"""The set that they are in where they stand beside other arrays."""
MAX_BYTES = 2**20
"""Bytes that a client's result of any length may have, if nothing else is declared."""
NAME_BYTES = 512
"""Bytes that a result may take beside its values: its name, dtype and shape."""
LARGEST_WHOLE = 2**53
"""Largest whole number in a result that is added up: the sum of a thousand clients' is exact."""


@dataclass(frozen=True, slots=True)
class Result:
    """What is declared of a result.

    Attributes:
        reduction: What becomes of the clients' arrays: their ``sum``, their ``mean``, weighed as updates are, the
            greatest of each element (``max``), or all of them one after the other along the first axis, in the order of
            the clients' ids (``concat``).
        shape: The array's sizes, each from 1. With ``concat`` the first is None: each client's may have another.
        dtype: The array's dtype, as NumPy takes it; kept is its name.
        max_bytes: Bytes that a client's array may have at the most; for ``concat``, where its shape doesn't say it.
        judged: Whether an update is dropped if this array is out of all proportion to the others', by its L2 length.
        to_clients: Whether those that train in the next round are given what became of it, as ``context.results``.

    Raises:
        ConfigurationError: If a value isn't allowed, or the others don't go with the reduction.
    """

    reduction: Reduction
    shape: tuple[int | None, ...] = ()
    dtype: str = "float64"
    max_bytes: int = MAX_BYTES
    judged: bool = False
    to_clients: bool = False

    def __post_init__(self) -> None:
        if self.reduction not in get_args(Reduction):
            raise self._refused(f"reduction={self.reduction!r}", f"one of {', '.join(get_args(Reduction))}")
        dtype = self._dtype()
        object.__setattr__(self, "dtype", dtype.name)
        object.__setattr__(self, "shape", self._sizes())
        if dtype.kind in {"sum": "b", "mean": "biu"}.get(self.reduction, ""):
            raise self._refused(f"{self.reduction!r}, dtype={self.dtype!r}", "a dtype that has such values")
        if not isinstance(self.max_bytes, int) or self.max_bytes < 1:
            raise self._refused(f"max_bytes={self.max_bytes!r}", "a whole number from 1")

    def _dtype(self) -> np.dtype[Any]:
        try:
            dtype = np.dtype(self.dtype)
            spec_of({"": np.empty(0, dtype)})
        except (TypeError, ValueError, ArraysError):
            raise self._refused(f"dtype={self.dtype!r}", "a dtype of numbers, like float64 or uint8") from None
        return dtype

    def _sizes(self) -> tuple[int | None, ...]:
        is_free = self.reduction == "concat"
        needed = "(None, …), None standing for any size," if is_free else "a tuple of sizes from 1"
        refused = self._refused(f"{self.reduction!r}, shape={self.shape!r}", needed)
        try:
            first, others = self.shape[:is_free], [operator.index(size or 0) for size in self.shape[is_free:]]
        except TypeError:
            raise refused from None
        if tuple(first) != (None,) * is_free or any(size < 1 for size in others):
            raise refused
        return (*first, *others)

    def _refused(self, given: str, needed: str) -> ConfigurationError:
        return ConfigurationError(f"Result({given}): {needed} is allowed")

    @property
    def most_bytes(self) -> int:
        """Bytes that a client's values may have."""
        sizes = [size for size in self.shape if size is not None]
        return self.max_bytes if self.reduction == "concat" else math.prod(sizes) * np.dtype(self.dtype).itemsize

    def wrong_with(self, values: Array) -> str:
        """Say what is wrong with a client's values; empty if they are as declared."""
        fits = len(values.shape) == len(self.shape) and all(
            allowed in (None, size) for size, allowed in zip(values.shape, self.shape, strict=True)
        )
        if values.dtype != np.dtype(self.dtype) or not fits:
            declared = str(self.shape).replace("None", "any")
            return f"is {values.dtype} {values.shape}: {self.dtype} {declared} is declared"
        if values.nbytes > self.most_bytes:
            return f"has {values.nbytes} bytes: {self.most_bytes} are allowed (max_bytes)"
        if values.dtype.kind not in "iub" and not np.isfinite(values).all():
            return "has values that are NaN or infinite"
        is_added = values.dtype.kind in "iu" and self.reduction == "sum" and values.size > 0
        if is_added and max(int(values.max()), -int(values.min())) > LARGEST_WHOLE:
            return f"has a whole number over {LARGEST_WHOLE} (2**53), which can't be added up"
        return ""

    def reduce(self, of_clients: Sequence[Array], weights: Sequence[float]) -> Array:
        """Return what becomes of the clients' arrays, in this result's dtype; sums beyond its range are at its end.

        Args:
            of_clients: At least one, in the order of the clients' ids; as :meth:`wrong_with` allows them.
            weights: What each weighs in a mean.

        Raises:
            ValueError: If a mean is wanted of what weighs nothing.
        """
        if self.reduction == "concat":
            return np.concatenate(of_clients)
        if self.reduction == "max":
            return np.asarray(functools.reduce(np.maximum, of_clients))
        shares: Sequence[float] = [1] * len(of_clients)
        if self.reduction == "mean":
            if not 0 < (total := math.fsum(weights)) < math.inf:
                raise ValueError(f"{len(of_clients)} updates weigh {total} in sum: more than 0 is needed")
            shares = [weight / total for weight in weights]
        dtype = np.dtype(self.dtype)
        wide, limits = (np.int64, np.iinfo(dtype)) if dtype.kind in "iu" else (np.float64, ml_dtypes.finfo(dtype))  # type: ignore[no-untyped-call]
        sums: Array = np.zeros(of_clients[0].shape, wide)
        with np.errstate(over="ignore"):
            for values, share in zip(of_clients, shares, strict=True):
                added = share * values.astype(wide)
                sums = (_within(sums, added) if wide is np.int64 else sums) + added
        return np.asarray(np.clip(sums, limits.min, limits.max).astype(dtype))


def _within(sums: Array, added: Array) -> Array:
    """Return sums of int64 as far as what is added leaves them within its range."""
    limits = np.iinfo(np.int64)
    return np.asarray(np.clip(sums, limits.min - np.minimum(added, 0), limits.max - np.maximum(added, 0)))


Declared = Mapping[str, Result]
"""What a workload declares of its results, by name."""


def join(arrays: Arrays, results: Arrays) -> dict[str, Array]:
    """Return arrays and results as one mapping."""
    return {**arrays, **auxiliary.join({}, {KIND: results})}


def split(arrays: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the arrays without the results among them, and these by their own names."""
    prefix = f"{auxiliary.MARK}{KIND}/"
    others = {name: values for name, values in arrays.items() if not name.startswith(prefix)}
    found = {name.removeprefix(prefix): arrays[name] for name in arrays if name not in others}
    return others, found


def difference(found: Arrays, declared: Declared) -> str:
    """Say how a client's results differ from what is declared; empty if they don't."""
    if unknown := sorted(found.keys() - declared.keys()):
        known = first_of(list(declared)) or "none"
        return f"result {unknown[0]!r} isn't declared: {known} {'are' if len(declared) > 1 else 'is'}"
    if missing := sorted(declared.keys() - found.keys()):
        return f"result {missing[0]!r} is missing"
    said = ((name, declared[name].wrong_with(values)) for name, values in found.items())
    return next((f"result {name!r} {wrong}" for name, wrong in said if wrong), "")


def most_bytes(declared: Declared) -> int:
    """Return how many bytes a client's results may have in all."""
    return sum(result.most_bytes + NAME_BYTES for result in declared.values())


def reduced(declared: Declared, of_clients: Sequence[Arrays], weights: Sequence[float]) -> dict[str, Array]:
    """Return what becomes of the clients' results; see :meth:`Result.reduce`."""
    return {
        name: result.reduce([each[name] for each in of_clients], weights) for name, result in sorted(declared.items())
    }
