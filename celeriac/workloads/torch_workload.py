"""Workloads that train with PyTorch: the default loop, on the CPU.

Parameters are the model's ``state_dict``, buffers included, as NumPy arrays (:mod:`celeriac.workloads.torch_arrays`).
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from celeriac.workloads.answers import Count, accuracy, are_right, joined
from celeriac.workloads.batches import Batch, Batches, Form, Sized, batches_of, steps_of
from celeriac.workloads.local_steps import LocalSteps, seeded
from celeriac.workloads.optimizers import StepSettings
from celeriac.workloads.side_by_side import side_by_side, threads
from celeriac.workloads.steps import checked_loss, numbers_of, outputs_of, pair_of, validated
from celeriac.workloads.torch_arrays import arrays_of, buffer_names_of, copy_into, gradients_of, is_lazy, tensors_of
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.errors import ConfigurationError
from tasks.evaluation import Evaluation
from tasks.seeds import derive_seed
from tasks.workload import Direction, Gradients, TrainResult, Workload

EVALUATION_BATCH_SIZE = 256
"""Examples evaluated at a time: a layer's activations of a small convolutional net take 25 MB."""


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

    momentum: ClassVar[float] = 0.0
    """Momentum of the default optimiser, from 0 to under 1; it begins anew in each round.

    This one and those below may be settings of the study's too, with which ``--run-config`` changes them: list their
    names in :attr:`run_config`.
    """
    weight_decay: ClassVar[float] = 0.0
    """Weight decay of the default optimiser."""
    clip_norm: ClassVar[float | None] = None
    """Most L2 norm of what a step follows, over all parameters; longer ones are scaled down to it. None: no limit."""
    accumulate: ClassVar[int] = 1
    """Batches to a step, which follows their examples' mean gradient."""
    mixed_precision: ClassVar[bool] = False
    """Whether training steps compute in bfloat16 where torch's autocast says so; parameters stay as they are."""

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
        return are_right(outputs, targets, by_classes=type(self).loss is TorchWorkload.loss)

    def measure(self, outputs: Any, targets: Tensor) -> Mapping[str, float]:
        """Return metrics by name over all examples of an evaluation; by default none beside the accuracy.

        Override it for metrics that aren't means of batches, like an AUC or an R². What it returns is kept in memory
        for all examples until it is called, once, with the batches' outputs and targets joined.

        Args:
            outputs: The model's results, joined along their first dimension; of a tuple or a dict each of its parts.
            targets: The targets, joined likewise.
        """
        return {}

    def training_step(self, model: nn.Module, batch: Batch, context: Context) -> Tensor:
        """Return the mean loss of a batch, a scalar with gradients.

        By default a batch is ``(inputs, targets)``, and :meth:`loss` compares the model's outputs with the targets. The
        model gets inputs in a dict as keyword arguments, and those in a tuple or list as positional ones.

        Algorithms that change a step's gradients work with whatever is done here. Some (Mime) call it again on the same
        batch, with another model and the same draws of torch's generator.

        Args:
            model: The model in training mode.
            batch: What the data's batches are: floats in the dtype of the model's parameters, whole numbers as int64.
            context: The training's.
        """
        inputs, targets = pair_of(batch)
        return self.loss(outputs_of(model, inputs), targets)

    def validation_step(self, model: nn.Module, batch: Batch, context: Context) -> Mapping[str, float | Tensor]:
        """Return numbers by name on a batch, means over its examples; one of them may be ``loss``.

        By default it is the loss of :meth:`training_step` alone. :meth:`evaluate` calls it, without gradients, if one
        of the two is overridden; else it goes by :meth:`loss`, :meth:`are_right` and :meth:`measure`.
        """
        return {"loss": self.training_step(model, batch, context)}

    def build_optimizer(self, model: nn.Module, context: Context) -> torch.optim.Optimizer:
        """Return a new optimiser of the model's parameters; by default SGD at the options' learning rate.

        Without :attr:`momentum` that is plain SGD, the only one that suits SCAFFOLD, Mime and FedNova.
        """
        return StepSettings.of(self, context).sgd(model, context.options.learning_rate)

    def optimizer_name(self, context: Context) -> str:
        """Return a name for what takes the steps, if it isn't plain SGD; else ``""``."""
        optimizer = self.build_optimizer(self._new_model(context), context)
        return StepSettings.of(self, context).unlike_plain_sgd(optimizer, context.options.learning_rate)

    def initial_parameters(self, context: Context) -> Arrays:
        """Return the state of a new model, with torch seeded by the context's seed.

        Lazy layers find their sizes by a batch of the orchestrator's held-out data.

        Raises:
            ArraysError: If arrays lack a parameter's dtype.
            ConfigurationError: If there are lazy layers and no such data.
        """
        with threads(self.num_threads), seeded(derive_seed(context.seed, "initial")):
            model = self.build_model(context)
            if is_lazy(model):
                self._find_sizes(model, context)
            return arrays_of(model)

    def _find_sizes(self, model: nn.Module, context: Context) -> None:
        data = context.load_holdout()
        if data is None:
            raise ConfigurationError(
                f"build_model() of {type(self).__name__} has lazy layers, whose sizes a batch of data gives, and the "
                "orchestrator holds out no data: return some from holdout_data(), or put a batch through the model in "
                "build_model()"
            )
        next_batch = next(iter(self._batches(data, "held-out data", model, context).in_order(batch_size=2)))
        with torch.no_grad():
            self.training_step(model.eval(), next_batch()[1], context)

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        """Train for ``context.options.epochs`` passes, each shuffled anew, or until the time is up.

        With ``context.options.max_steps`` it is for so many steps, in as many passes as they take.

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
        options, settings = context.options, StepSettings.of(self, context)
        with threads(self.num_threads), seeded(derive_seed(context.seed, "training"), context.device):
            model = self._model_with(parameters, context).train()
            optimizer = self.build_optimizer(model, context)
            batches = self._batches(data, "training data", model, context)
            loss_of = functools.partial(self._loss_of, context)
            new_model = functools.partial(self._new_model, context)
            steps = LocalSteps(model, optimizer, settings, loss_of, direction, new_model)
            losses: list[float] = []
            num_steps = num_seen = 0
            for is_first, parts in steps_of(batches, options, settings.accumulate, context.seed, _least_batch(model)):
                if context.budget.is_over():
                    break
                if is_first:
                    losses = []
                losses.append(steps.step(parts))
                num_steps += 1
                num_seen += sum(size for size, _ in parts)
        num_examples = num_seen if batches.num_examples is None else batches.num_examples
        return TrainResult(
            parameters=arrays_of(model),
            num_examples=num_examples,
            num_steps=num_steps,
            num_epochs=num_seen / max(num_examples, 1),
            metrics={"train_loss": sum(losses) / len(losses)} if losses else {},
            optimizer=settings.unlike_plain_sgd(optimizer, options.learning_rate),
        )

    def buffer_names(self, context: Context) -> frozenset[str]:
        """Return the names of the model's buffers."""
        return buffer_names_of(self._new_model(context))

    def gradients(self, parameters: Arrays, data: Any, context: Context) -> Gradients:
        """Return the mean loss over all of ``data`` and its gradients, with the model in training mode."""
        total = 0.0
        with threads(self.num_threads), seeded(0, context.device):
            model = self._model_with(parameters, context).train()
            batches, least = self._batches(data, "training data", model, context), _least_batch(model)
            num_examples = batches.num_examples
            if num_examples is None:
                num_examples = sum(batch()[0] for batch in batches.in_order(EVALUATION_BATCH_SIZE, least))
            for next_batch in batches.in_order(EVALUATION_BATCH_SIZE, least):
                size, batch = next_batch()
                loss = self._loss_of(context, model, batch) * (size / num_examples)
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
        return Gradients(total, gradients_of(tensors_of(model)))

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        """Return the mean loss, and the accuracy: the share of targets that the model gets right (:meth:`are_right`).

        If one batch has no accuracy, there is none at all. What :meth:`measure` returns comes beside it.

        All of the process's torch threads compute batches in parallel. Their results are added up in order, so the
        number of threads makes no difference. Each thread has modules of its own, which share the model's tensors.

        With a :meth:`training_step` or :meth:`validation_step` of your own the result is the mean of what
        :meth:`validation_step` returns, by examples or as :attr:`known_metrics` declares it, one batch after the other.
        """
        model = self._model_with(parameters, context).eval()
        batches = self._batches(data, "data to evaluate" if context.client_id else "held-out data", model, context)
        in_order = batches.in_order(EVALUATION_BATCH_SIZE)
        if self._has_own_steps():
            with threads(self.num_threads):
                return validated((self._validate(model, batch, context) for batch in in_order), self.known_metrics)
        num_examples, total_loss = 0, 0.0
        counts: list[Count | None] = []
        kept: list[tuple[Any, Tensor]] = []
        for size, loss, count, answers in side_by_side(self._judge, model, in_order, self.num_threads):
            num_examples += size
            total_loss += loss
            counts.append(count)
            kept += answers
        metrics = accuracy(counts)
        if kept:
            metrics |= self.measure(*joined(kept))
        return Evaluation(total_loss / max(num_examples, 1), num_examples, metrics)

    def _judge(
        self, model: nn.Module, next_batch: Callable[[], Sized]
    ) -> tuple[int, float, Count | None, list[tuple[Any, Tensor]]]:
        """Return a batch's size, the sum of its losses, its right answers (None without any), and what is measured."""
        is_measured = type(self).measure is not TorchWorkload.measure
        with torch.inference_mode():
            size, batch = next_batch()
            inputs, targets = pair_of(batch)
            outputs = outputs_of(model, inputs)
            loss = self.loss(outputs, targets).item() * size
            right = self.are_right(outputs, targets)
        kept = [(outputs, targets)] if is_measured else []
        return size, loss, None if right is None else (int(right.sum()), right.numel()), kept

    def _validate(
        self, model: nn.Module, next_batch: Callable[[], Sized], context: Context
    ) -> tuple[int, dict[str, float]]:
        """Return a batch's size, and what :meth:`validation_step` says of it."""
        with torch.inference_mode():
            size, batch = next_batch()
            return size, numbers_of(self.validation_step(model, batch, context))

    def _has_own_steps(self) -> bool:
        kind = type(self)
        return (kind.training_step, kind.validation_step) != (
            TorchWorkload.training_step,
            TorchWorkload.validation_step,
        )

    def _loss_of(self, context: Context, model: nn.Module, batch: Batch) -> Tensor:
        return checked_loss(self.training_step(model, batch, context))

    def _batches(self, data: Any, what: str, model: nn.Module, context: Context) -> Batches:
        return batches_of(data, what, Form.of(model), context.options.batch_size)

    def _new_model(self, context: Context) -> nn.Module:
        """Return a new model on the context's device, leaving torch's generator as it was."""
        with torch.random.fork_rng(devices=()):
            return self.build_model(context).to(context.device)

    def _model_with(self, parameters: Arrays, context: Context) -> nn.Module:
        model = self._new_model(context)
        copy_into(model, parameters)
        return model


def _least_batch(model: nn.Module) -> int:
    """Return the least size of a training batch of ``model``: 2 with batch normalisation, which takes a variance."""
    return 2 if any(isinstance(module, _BatchNorm) and module.training for module in model.modules()) else 1
