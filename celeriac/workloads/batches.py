"""A workload's data in batches, in whatever form it is: arrays, tensors, a Dataset, a DataLoader."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from celeriac.workloads.torch_arrays import array_of, tensor_of
from tasks.arrays import Array, is_float
from tasks.errors import DataMissingError
from tasks.messages import TrainOptions
from tasks.seeds import generator

Batch = Any
"""Tensors, alone or in tuples, lists and dicts."""
Sized = tuple[int, Batch]
"""How many examples a batch has, and the batch."""
Rows = npt.NDArray[np.int64] | slice

_ALLOWED = (
    "a DataLoader, a Dataset, a tuple (inputs, targets), or something with inputs and targets is needed: arrays or "
    "tensors, or dicts and tuples of them"
)
_NUMBERS = (
    "numbers are needed (floats, whole numbers, booleans), an example a row, or a DataLoader with a collate_fn that "
    "makes such batches"
)


@dataclass(frozen=True, slots=True)
class Form:
    """How a model takes numbers: floats in its own dtype, whole numbers as int64, all on its device."""

    floats: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, model: nn.Module) -> Form:
        """Return the form of a model's parameters."""
        first = next((each for each in model.parameters() if each.dtype.is_floating_point), None)
        if first is None:
            return cls(torch.get_default_dtype(), torch.device("cpu"))
        return cls(first.dtype, first.device)

    def tensor(self, tensor: Tensor) -> Tensor:
        """Return a tensor in this form."""
        if tensor.is_floating_point():
            return tensor.to(self.device, self.floats)
        is_whole = not (tensor.is_complex() or tensor.dtype == torch.bool)
        return tensor.to(self.device, torch.int64) if is_whole else tensor.to(self.device)

    def batch(self, batch: Batch) -> Batch:
        """Return a batch whose tensors are in this form; what is no number stays as it is."""
        if isinstance(batch, np.ndarray):
            return self.tensor(tensor_of(np.require(batch, requirements=["C", "W"])))
        if isinstance(batch, Tensor):
            return self.tensor(batch)
        return mapped(self.batch, batch)


class Batches(ABC):
    """Data, to be had in batches."""

    num_examples: int | None
    """None as long as that isn't known: of an ``IterableDataset`` without a length, until a pass is over."""

    @abstractmethod
    def shuffled(self, rng: np.random.Generator, batch_size: int, least: int) -> Iterator[Sized]:
        """Yield each batch of a pass in a random order; a last one of fewer than ``least`` joins the one before it."""

    @abstractmethod
    def in_order(self, batch_size: int, least: int = 1) -> Iterable[Callable[[], Sized]]:
        """Return what gives each batch; a list if several threads may ask at a time."""


def batches_of(data: Any, what: str, form: Form, batch_size: int) -> Batches:
    """Return data in batches.

    Args:
        data: The data.
        what: What it is, for messages: ``training data``.
        form: How the model takes it.
        batch_size: Of an ``IterableDataset``, which has no rows to choose.

    Raises:
        DataMissingError: If it can't be taken.
    """
    if isinstance(data, DataLoader):
        return _LoaderBatches(data, form)
    if isinstance(data, IterableDataset):
        return _LoaderBatches(DataLoader(data, batch_size=batch_size), form)
    if isinstance(data, TensorDataset) and len(data.tensors) == 2:
        data = data.tensors
    if isinstance(data, tuple) and len(data) == 2:
        return _ArrayBatches(*data, what, form)
    if hasattr(data, "inputs") and hasattr(data, "targets") and not isinstance(data, Dataset):
        return _ArrayBatches(data.inputs, data.targets, what, form)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Mapping | str | np.ndarray):
        return _DatasetBatches(data, what, form)
    raise DataMissingError(f"{what} are {type(data).__name__}: {_ALLOWED}")


def steps_of(
    batches: Batches, options: TrainOptions, accumulate: int, seed: int, least: int
) -> Iterator[tuple[bool, list[Sized]]]:
    """Yield of each step whether it begins a pass, and its ``accumulate`` batches; the last of a pass has fewer."""
    num_steps = 0
    for epoch in itertools.count() if options.max_steps else range(options.epochs):
        is_first = True
        rest = batches.shuffled(generator(seed, "shuffle", epoch), options.batch_size, least)
        while parts := list(itertools.islice(rest, accumulate)):
            yield is_first, parts
            is_first = False
            num_steps += 1
            if num_steps == options.max_steps:
                return
        if is_first:  # there are no examples
            return


def mapped(function: Callable[[Any], Any], nested: Any) -> Any:
    """Return a dict, tuple or list with ``function``'s results in place of its values; others as they are."""
    if isinstance(nested, Mapping):
        return {name: function(value) for name, value in nested.items()}
    if isinstance(nested, tuple) and hasattr(nested, "_fields"):
        return type(nested)(*map(function, nested))
    return type(nested)(map(function, nested)) if isinstance(nested, tuple | list) else nested


def slices(num_examples: int, batch_size: int, least: int = 1) -> Iterator[slice]:
    """Yield the rows of each batch; a last batch of fewer than ``least`` examples joins the one before it, if any."""
    start = 0
    while start < num_examples:
        stop = min(start + batch_size, num_examples)
        if num_examples - stop < least:
            stop = num_examples
        yield slice(start, stop)
        start = stop


class _RowBatches(Batches):
    """Data whose examples can be had in any order."""

    num_examples: int

    @abstractmethod
    def take(self, rows: Rows) -> Batch:
        """Return the examples at ``rows``."""

    def shuffled(self, rng: np.random.Generator, batch_size: int, least: int) -> Iterator[Sized]:
        order = rng.permutation(self.num_examples)
        for rows in slices(self.num_examples, batch_size, least):
            yield rows.stop - rows.start, self.take(order[rows])

    def in_order(self, batch_size: int, least: int = 1) -> Iterable[Callable[[], Sized]]:
        return (partial(self._sized, rows) for rows in slices(self.num_examples, batch_size, least))

    def _sized(self, rows: slice) -> Sized:
        return rows.stop - rows.start, self.take(rows)


class _ArrayBatches(_RowBatches):
    """Inputs and targets in memory, or in memory maps."""

    def __init__(self, inputs: Any, targets: Any, what: str, form: Form) -> None:
        self._inputs, self._targets = (
            _arrays(values, f"{what}: {name}") for name, values in (("inputs", inputs), ("targets", targets))
        )
        self._form = form
        rows = [len(array) for array in (*_leaves(self._inputs), *_leaves(self._targets))]
        if not rows or min(rows) != max(rows):
            raise DataMissingError(
                f"{what}: inputs are {_shapes(self._inputs)}, targets {_shapes(self._targets)}: as many rows are needed"
            )
        self.num_examples = rows[0]

    def take(self, rows: Rows) -> Batch:
        return self._rows(self._inputs, rows), self._rows(self._targets, rows)

    def in_order(self, batch_size: int, least: int = 1) -> Iterable[Callable[[], Sized]]:
        return list(super().in_order(batch_size, least))

    def _rows(self, values: Any, rows: Rows) -> Batch:
        if not isinstance(values, np.ndarray):
            return mapped(lambda each: self._rows(each, rows), values)
        found = values[rows]
        # torch warns of read-only memory, and takes numbers of this machine's byte order alone
        native = np.require(found, found.dtype.newbyteorder("="), ["C", "W"])
        return self._form.tensor(tensor_of(native))


class _DatasetBatches(_RowBatches):
    """A Dataset, or anything else with a length and an example at each place; batches are made as DataLoader does."""

    def __init__(self, dataset: Any, what: str, form: Form) -> None:
        self._dataset, self._what, self._form = dataset, what, form
        self.num_examples = len(dataset)

    def take(self, rows: Rows) -> Batch:
        places = range(self.num_examples)[rows] if isinstance(rows, slice) else rows.tolist()
        examples = [self._dataset[place] for place in places]
        try:
            batch = default_collate(examples)
        except (RuntimeError, TypeError) as error:
            raise DataMissingError(
                f"{self._what}: examples of {type(self._dataset).__name__} don't make a batch: {error}: give all one "
                "shape, or return a DataLoader with a collate_fn"
            ) from error
        return self._form.batch(batch)


class _LoaderBatches(Batches):
    """A DataLoader, which sizes and shuffles its batches itself."""

    def __init__(self, loader: DataLoader[Any], form: Form) -> None:
        self._loader, self._form = loader, form
        known: Any = loader.dataset if isinstance(loader.dataset, IterableDataset) else loader.sampler
        self.num_examples = len(known) if hasattr(known, "__len__") else None

    def shuffled(self, rng: np.random.Generator, batch_size: int, least: int) -> Iterator[Sized]:
        num_seen = 0
        for batch in self._loader:
            size = size_of(batch)
            num_seen += size
            yield size, self._form.batch(batch)
        if self.num_examples is None:
            self.num_examples = num_seen

    def in_order(self, batch_size: int, least: int = 1) -> Iterable[Callable[[], Sized]]:
        return (partial(self._sized, batch) for batch in self._loader)

    def _sized(self, batch: Batch) -> Sized:
        return size_of(batch), self._form.batch(batch)


def size_of(batch: Batch) -> int:
    """Return how many examples a batch has: the length of the first tensor in it.

    Raises:
        DataMissingError: If there is none.
    """
    first = next((leaf for leaf in _leaves(batch) if isinstance(leaf, Tensor | np.ndarray) and leaf.ndim), None)
    if first is None:
        raise DataMissingError(f"a batch of the DataLoader is {type(batch).__name__}, and has no tensor with examples")
    return len(first)


def _leaves(nested: Any) -> list[Any]:
    if isinstance(nested, Mapping):
        return [leaf for value in nested.values() for leaf in _leaves(value)]
    if isinstance(nested, tuple | list):
        return [leaf for value in nested for leaf in _leaves(value)]
    return [nested]


def _shapes(nested: Any) -> str:
    return ", ".join(f"{leaf.dtype} of shape {leaf.shape}" for leaf in _leaves(nested)) or "empty"


def _arrays(values: Any, what: str) -> Any:
    """Return values as arrays, in the dicts and tuples that they are in.

    Raises:
        DataMissingError: If they aren't numbers, an example a row.
    """
    if isinstance(values, Mapping):
        return {name: _arrays(value, f"{what} {name!r}") for name, value in values.items()}
    if isinstance(values, tuple):
        return tuple(_arrays(value, f"{what} {place}") for place, value in enumerate(values))
    try:
        array: Array = array_of(values.detach().cpu()) if isinstance(values, Tensor) else np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataMissingError(
            f"{what} are {type(values).__name__} of which NumPy says: {error}: {_NUMBERS}"
        ) from error
    if (array.dtype.kind not in "iubc" and not is_float(array.dtype)) or not array.ndim:
        first = f", the first being {type(array.flat[0]).__name__}" if array.dtype == object and array.size else ""
        raise DataMissingError(f"{what} are {array.dtype} of shape {array.shape}{first}: {_NUMBERS}")
    return array.astype(np.float64) if array.dtype == np.longdouble else array
