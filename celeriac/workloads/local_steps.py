"""Steps of local training with PyTorch, which an algorithm may turn into a direction of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from celeriac.workloads.batches import Batch, Sized
from celeriac.workloads.optimizers import StepSettings
from celeriac.workloads.torch_arrays import arrays_of, copy_into, gradients_of, put_gradients, tensors_of
from tasks.arrays import Arrays
from tasks.workload import Direction, Step

LossOf = Callable[[nn.Module, Batch], Tensor]
"""The mean loss of a batch, by a model."""


class LocalSteps:
    """Steps of a model in training.

    For an algorithm's direction, a second model computes a step's gradients at other parameters. It draws the same
    numbers from torch's generator as the step itself, so dropout masks the same units, and leaves the generator as it
    was.

    Args:
        model: The model in training.
        optimizer: Its optimiser.
        settings: How steps are taken.
        loss_of: The loss.
        direction: The algorithm's direction; None: the gradients'.
        new_model: Returns another model like it.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: StepSettings,
        loss_of: LossOf,
        direction: Direction | None,
        new_model: Callable[[], nn.Module],
    ) -> None:
        self._tensors, self._parameters = tensors_of(model), arrays_of(model)
        self._model = model
        self._optimizer, self._settings = optimizer, settings
        self._loss_of = loss_of
        self._direction = direction
        self._new_model = new_model
        self._other: nn.Module | None = None
        self._device = next((tensor.device.type for tensor in self._tensors.values()), "cpu")
        self._generators = generators_of(self._device)

    def step(self, parts: Sequence[Sized]) -> float:
        """Do a step on the mean loss over some batches, and return it."""
        self._optimizer.zero_grad()
        before = states_of(self._generators) if self._direction is not None else None
        loss = self._backward(self._model, parts)
        if self._direction is not None and before is not None:
            self._turn(self._direction, parts, before)
        if self._settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._model.parameters(), self._settings.clip_norm)
        self._optimizer.step()
        return loss

    def _backward(self, model: nn.Module, parts: Sequence[Sized]) -> float:
        """Add the gradients of the mean loss to the model's, and return the loss."""
        num_examples, total = sum(size for size, _ in parts), 0.0
        for size, batch in parts:
            with self._precision():
                loss = self._loss_of(model, batch)
            if len(parts) > 1:
                loss = loss * (size / num_examples)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    def _turn(self, direction: Direction, parts: Sequence[Sized], before: Sequence[Tensor]) -> None:
        """Replace the model's gradients by the direction."""

        def gradients_at(parameters: Arrays) -> Arrays:
            if self._other is None:
                self._other = self._new_model().train()
            copy_into(self._other, parameters)
            self._other.zero_grad()
            now = states_of(self._generators)
            put_states(self._generators, before)
            self._backward(self._other, parts)
            put_states(self._generators, now)
            return gradients_of(tensors_of(self._other))

        gradients = gradients_of(self._tensors)
        put_gradients(self._tensors, gradients, direction(Step(self._now(), gradients, gradients_at)))

    def _precision(self) -> AbstractContextManager[object]:
        if not self._settings.mixed_precision:
            return nullcontext()
        return torch.autocast(self._device, torch.bfloat16)

    def _now(self) -> Arrays:
        """Return the parameters as they are; on the CPU, arrays made once share their memory."""
        return self._parameters if self._device == "cpu" else arrays_of(self._model)


@contextmanager
def seeded(seed: int, device: str = "cpu") -> Iterator[None]:
    """Seed the generators that draws on a device come from within the context, and restore their states afterwards."""
    generators = generators_of(torch.device(device).type)
    before = states_of(generators)
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        put_states(generators, before)


def generators_of(device_type: str) -> list[Any]:
    """Return torch's CPU generator, and the module of torch that has another device's."""
    return [_Cpu, *([] if device_type == "cpu" else [torch.get_device_module(device_type)])]


def states_of(generators: Sequence[Any]) -> list[Tensor]:
    """Return the states of generators."""
    return [generator.get_rng_state() for generator in generators]


def put_states(generators: Sequence[Any], states: Sequence[Tensor]) -> None:
    """Give generators the states that they had."""
    for generator, state in zip(generators, states, strict=True):
        generator.set_rng_state(state)


class _Cpu:
    """torch's CPU generator, called as other devices' are; ``torch.manual_seed`` would seed those, too."""

    get_rng_state, set_rng_state = torch.get_rng_state, torch.set_rng_state
    manual_seed = torch.default_generator.manual_seed
