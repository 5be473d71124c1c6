"""Workloads that train with PyTorch: the default loop, on the CPU.

Parameters are the model's ``state_dict``, buffers included, as NumPy arrays (:mod:`celeriac.workloads.torch_arrays`).
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from celeriac.workloads.optimizers import unlike_plain_sgd
from celeriac.workloads.side_by_side import side_by_side, threads
from celeriac.workloads.torch_arrays import arrays_of, buffer_names_of, copy_into, gradients_of, tensors_of
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.evaluation import Evaluation
from tasks.messages import TrainOptions
from tasks.seeds import derive_seed, generator
from tasks.workload import Direction, Gradients, Step, TrainResult, Workload

EVALUATION_BATCH_SIZE = 256
"""Examples evaluated at a time: a layer's activations of a small convolutional net take 25 MB."""

IGNORED = -100
"""A target that torch's cross entropy leaves out."""


class TorchWorkload(Workload):
    """Base of workloads that train a :class:`torch.nn.Module`.

    A subclass defines :meth:`build_model`, ``client_data`` and ``holdout_data``. It may override :meth:`loss` and
    :meth:`build_optimizer`, or :meth:`train` and :meth:`evaluate` as a whole.

    Data may be :class:`celeriac.workloads.examples.Examples`, or anything else with ``inputs`` and ``targets``: arrays,
    memory maps, or anything that NumPy turns into arrays, with one example a row. The model gets a batch's floats in
    the dtype of its parameters, whole numbers as int64.

    Equal arguments give bit-equal results on one machine. torch's own generator, for initial values and dropout, is
    seeded too. A process has only one, so dropout is reproducible only while no other thread draws from it.

    Parameters that don't fit the model raise ArraysError.
    """

    num_threads: ClassVar[int] = 1
    """Threads that torch uses for a batch in training and evaluation. Fixed, whatever the machine, because another
    number sums in another order; small models are fastest with one, and clients share the cores anyway."""

    @abstractmethod
    def build_model(self, context: Context) -> nn.Module:
        """Return a new model on the CPU; the round's parameters are then copied into it."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, a scalar; by default the cross entropy of logits ``(n, classes)``."""
        return nn.functional.cross_entropy(outputs, targets)

    def are_right(self, outputs: Any, targets: Tensor) -> Tensor | None:
        """Return whether the model is right for each target of a batch; None if answers aren't right or wrong.

        By default it knows two kinds of answers:

        - several outputs, ``(n, classes, ...)`` or ``(n, ..., classes)``, with whole-numbered targets ``(n, ...)``: the
          target's class should have the largest output. Targets of -100, which torch's cross entropy leaves out, don't
          count. Where both readings fit, the first holds for the default loss, and neither for a loss of your own;
        - a single logit for each target, ``(n,)`` or ``(n, 1, ...)``, with targets of 0 and 1 alone: the logit should
          be above 0 where the target is 1, and only there.

        Regression and reconstruction have no right answers, and so no accuracy. Override this for a model that returns
        probabilities rather than logits, or several labels an example.

        Args:
            outputs: The model's result.
            targets: The batch's targets; floats in the dtype of the model's parameters, whole numbers as int64.

        Returns:
            Booleans of any shape, or None. The accuracy is the share of True over all batches.
        """
        if not isinstance(outputs, Tensor):
            return None
        if (dim := self._classes_in(outputs, targets)) is not None:
            return (outputs.argmax(dim=dim) == targets)[targets != IGNORED]
        if outputs.ndim > 1 and outputs.shape[1] > 1:
            return None
        are_ones = targets == 1
        if outputs.numel() != targets.numel() or not bool((are_ones | (targets == 0)).all()):
            return None
        return (outputs.reshape(targets.shape) > 0) == are_ones

    def _classes_in(self, outputs: Tensor, targets: Tensor) -> int | None:
        """Return the dimension that has the outputs of the targets' classes; None if it isn't clear that one has."""
        if targets.is_floating_point():
            return None
        shape, dims = outputs.shape, sorted({1, outputs.ndim - 1})
        found = [dim for dim in dims if shape[dim:][:1].numel() > 1 and shape[:dim] + shape[dim + 1 :] == targets.shape]
        is_clear = len(found) == 1 or type(self).loss is TorchWorkload.loss
        return found[0] if found and is_clear else None

    def measure(self, outputs: Any, targets: Tensor) -> Mapping[str, float]:
        """Return metrics by name over all examples of an evaluation; by default none beside the accuracy.

        Override it for metrics that aren't means of batches, like an AUC or an R². What it returns is kept in memory
        for all examples until it is called, once, with the batches' outputs and targets joined.

        Args:
            outputs: The model's results, joined along their first dimension; of a tuple or a dict each of its parts.
            targets: The targets, joined likewise.
        """
        return {}

    def build_optimizer(self, model: nn.Module, context: Context) -> torch.optim.Optimizer:
        """Return a new optimiser of the model's parameters; by default plain SGD, the only one that suits SCAFFOLD."""
        return torch.optim.SGD(model.parameters(), lr=context.options.learning_rate)

    def initial_parameters(self, context: Context) -> Arrays:
        """Return the state of a new model, with torch seeded by the context's seed.

        Raises:
            ArraysError: If arrays lack a parameter's dtype.
        """
        with seeded(derive_seed(context.seed, "initial")):
            return arrays_of(self.build_model(context))

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        """Train for ``context.options.epochs`` passes, each shuffled anew, or until the time is up.

        The last batch of a pass may be smaller. A single example has no variance, so for a model with batch
        normalisation (torch's ``BatchNorm``) a last batch of one example joins the batch before it. For such a model
        torch raises if a client has a single example, or batches of one.

        ``train_loss`` is the mean over the steps of the last pass that was begun; without a step it is missing.
        """
        return self._train(parameters, data, context, None)

    def train_along(self, parameters: Arrays, data: Any, context: Context, direction: Direction) -> TrainResult:
        """Train as :meth:`train` does, but the optimiser follows ``direction``'s result instead of the gradients."""
        return self._train(parameters, data, context, direction)

    def _train(self, parameters: Arrays, data: Any, context: Context, direction: Direction | None) -> TrainResult:
        options = context.options
        with threads(self.num_threads), seeded(derive_seed(context.seed, "training")):
            model = self._model_with(parameters, context).train()
            optimizer = self.build_optimizer(model, context)
            turn = _Turn(self, model, context, direction) if direction is not None else None
            losses: list[float] = []
            num_steps = num_seen = 0
            for first, rows in _batches(model, len(data.targets), options, context.seed):
                if context.budget.is_over():
                    break
                if first:
                    losses = []
                losses.append(self._step(model, optimizer, _batch(model, data, rows), turn))
                num_steps += 1
                num_seen += len(rows)
        return TrainResult(
            parameters=arrays_of(model),
            num_examples=len(data.targets),
            num_steps=num_steps,
            num_epochs=num_seen / max(len(data.targets), 1),
            metrics={"train_loss": sum(losses) / len(losses)} if losses else {},
            optimizer=unlike_plain_sgd(optimizer, options.learning_rate),
        )

    def _step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batch: tuple[Tensor, Tensor],
        turn: _Turn | None,
    ) -> float:
        inputs, targets = batch
        optimizer.zero_grad()
        if turn is not None:
            turn.begin(batch)
        loss = self.loss(model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        if turn is not None:
            turn.apply()
        optimizer.step()
        return loss.item()

    def buffer_names(self, context: Context) -> frozenset[str]:
        """Return the names of the model's buffers."""
        return buffer_names_of(self._new_model(context))

    def gradients(self, parameters: Arrays, data: Any, context: Context) -> Gradients:
        """Return the mean loss over all of ``data`` and its gradients, with the model in training mode."""
        num_examples = len(data.targets)
        total = 0.0
        with threads(self.num_threads), seeded(0):
            model = self._model_with(parameters, context).train()
            for rows in _slices(num_examples, EVALUATION_BATCH_SIZE, _least_batch(model)):
                inputs, targets = _batch(model, data, rows)
                loss = self.loss(model(inputs), targets) * (len(targets) / num_examples)
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
        return Gradients(total, gradients_of(tensors_of(model)))

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        """Return the mean loss, and the accuracy: the share of targets that the model gets right (:meth:`are_right`).

        If one batch has no accuracy, there is none at all. What :meth:`measure` returns comes beside it.

        All of the process's torch threads compute batches in parallel. Their results are added up in order, so the
        number of threads makes no difference. Each thread has modules of its own, which share the model's tensors.
        """
        num_examples = len(data.targets)
        model = self._model_with(parameters, context).eval()
        batches = list(_slices(num_examples, EVALUATION_BATCH_SIZE))
        total_loss = 0.0
        counts: list[tuple[int, int] | None] = []
        kept: list[tuple[Any, Tensor]] = []
        is_measured = type(self).measure is not TorchWorkload.measure
        judge = functools.partial(self._judge, data)
        for loss, count, answers in side_by_side(judge, model, batches, self.num_threads):
            total_loss += loss
            counts.append(count)
            if is_measured:
                kept.append(answers)
        metrics = _accuracy(counts)
        if kept:
            metrics |= self.measure(*_joined(kept))
        return Evaluation(total_loss / max(num_examples, 1), num_examples, metrics)

    def _judge(
        self, data: Any, model: nn.Module, rows: slice
    ) -> tuple[float, tuple[int, int] | None, tuple[Any, Tensor]]:
        """Return the sum of a batch's losses, the numbers of right answers and of all, and outputs and targets.

        The numbers are None if answers aren't right or wrong.
        """
        with torch.inference_mode():
            inputs, targets = _batch(model, data, rows)
            outputs = model(inputs)
            loss = self.loss(outputs, targets).item() * len(targets)
            right = self.are_right(outputs, targets)
        return loss, None if right is None else (int(right.sum()), right.numel()), (outputs, targets)

    def _new_model(self, context: Context) -> nn.Module:
        """Return a new model, leaving torch's generator as it was."""
        with torch.random.fork_rng(devices=()):
            return self.build_model(context)

    def _model_with(self, parameters: Arrays, context: Context) -> nn.Module:
        model = self._new_model(context)
        copy_into(model, parameters)
        return model


def _accuracy(counts: Sequence[tuple[int, int] | None]) -> dict[str, float]:
    """Return the share of right answers from each batch's counts, right and all; none if a batch has no counts."""
    known = [count for count in counts if count is not None]
    num_answers = sum(number for _, number in known)
    if not num_answers or len(known) < len(counts):
        return {}
    return {"accuracy": sum(right for right, _ in known) / num_answers}


def _joined(parts: Sequence[Any]) -> Any:
    """Return batches of tensors as one, tuples and dicts of them part by part."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {name: _joined([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple | list):
        return tuple(_joined(part) for part in zip(*parts, strict=True))
    return torch.cat(list(parts))


class _Turn:
    """Turns each step's gradients into the algorithm's direction.

    A second model computes a step's gradients at other parameters. It draws the same numbers from torch's generator as
    the step itself, so dropout masks the same units, and leaves the generator as it was.

    Args:
        workload: Gives the loss and new models.
        model: The model in training.
        context: The training's.
        direction: The algorithm's direction.
    """

    def __init__(self, workload: TorchWorkload, model: nn.Module, context: Context, direction: Direction) -> None:
        self._workload = workload
        self._context = context
        self._tensors = tensors_of(model)
        self._direction = direction
        self._parameters = arrays_of(model)
        self._other: nn.Module | None = None

    def begin(self, batch: tuple[Tensor, Tensor]) -> None:
        """Record the state of torch's generator; call it before the step's forward pass over ``batch``."""
        self._batch = batch
        self._generator_state = torch.get_rng_state()

    def apply(self) -> None:
        """Replace the model's gradients, taken on the batch given to :meth:`begin`, by the direction."""
        gradients = gradients_of(self._tensors)
        turned = self._direction(Step(self._parameters, gradients, self._gradients_at))
        for name, gradient in gradients.items():
            gradient[...] = turned[name]

    def _gradients_at(self, parameters: Arrays) -> Arrays:
        inputs, targets = self._batch
        if self._other is None:
            self._other = self._workload._new_model(self._context).train()
        copy_into(self._other, parameters)
        self._other.zero_grad()
        with torch.random.fork_rng(devices=()):
            torch.set_rng_state(self._generator_state)
            self._workload.loss(self._other(inputs), targets).backward()  # type: ignore[no-untyped-call]
        return gradients_of(tensors_of(self._other))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator within the context, and restore its state afterwards."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        yield


def _batches(
    model: nn.Module, num_examples: int, options: TrainOptions, seed: int
) -> Iterator[tuple[bool, npt.NDArray[np.int64]]]:
    """Yield the rows of each batch of all epochs, and whether it is the first of its epoch."""
    least = _least_batch(model)
    for epoch in range(options.epochs):
        order = generator(seed, "shuffle", epoch).permutation(num_examples)
        for rows in _slices(num_examples, options.batch_size, least):
            yield rows.start == 0, order[rows]


def _slices(num_examples: int, batch_size: int, least: int = 1) -> Iterator[slice]:
    """Yield the rows of each batch; a last batch of fewer than ``least`` examples joins the one before it, if any."""
    start = 0
    while start < num_examples:
        stop = min(start + batch_size, num_examples)
        if num_examples - stop < least:
            stop = num_examples
        yield slice(start, stop)
        start = stop


def _least_batch(model: nn.Module) -> int:
    """Return the least size of a training batch of ``model``: 2 with batch normalisation, which takes a variance."""
    return 2 if any(isinstance(module, _BatchNorm) and module.training for module in model.modules()) else 1


def _batch(model: nn.Module, data: Any, rows: npt.NDArray[np.int64] | slice) -> tuple[Tensor, Tensor]:
    floats = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.get_default_dtype())
    return _tensor(data.inputs, rows, floats), _tensor(data.targets, rows, floats)


def _tensor(values: Any, rows: npt.NDArray[np.int64] | slice, floats: torch.dtype) -> Tensor:
    batch = np.require(np.asarray(values)[rows], requirements=["C", "W"])  # torch warns of read-only memory
    tensor = torch.from_numpy(batch)
    if tensor.is_floating_point():
        return tensor.to(floats)
    return tensor if tensor.is_complex() or tensor.dtype == torch.bool else tensor.long()
