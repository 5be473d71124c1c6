"""Computing batches in parallel with PyTorch, with a result that doesn't depend on the number of cores."""

from __future__ import annotations

import copy
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

logger = logging.getLogger(__name__)

B = TypeVar("B")
T = TypeVar("T")
FEW = 4
"""Up to this many batches, threads don't pay off."""


def side_by_side(
    compute: Callable[[nn.Module, B], T], model: nn.Module, batches: Iterable[B], num_threads: int
) -> Iterator[T]:
    """Yield ``compute`` of the model and each batch, in the order of the batches.

    The process's torch threads (``torch.get_num_threads()``) each compute whole batches. Shared work on one batch would
    sum in an order that depends on the number of threads.

    Args:
        compute: Called with a model and a batch, in several threads at a time.
        model: The model, in evaluation mode. Each thread gets a copy of its modules, with the same tensors.
        batches: The batches; they are computed one after the other if they aren't a list.
        num_threads: Threads that torch uses for each batch.
    """
    num_batches = len(batches) if isinstance(batches, Sequence) else 0
    num_workers = min(torch.get_num_threads() // num_threads, num_batches)
    models = _with_the_same_tensors(model, num_workers) if num_workers > 1 and num_batches > FEW else []
    with threads(num_threads):
        if not models:
            yield from map(compute, itertools.repeat(model), batches)
            return
        own = threading.local()

        def begin() -> None:
            torch.set_num_threads(num_threads)
            own.model = models.pop()

        executor = ThreadPoolExecutor(num_workers, "evaluation", initializer=begin)
        try:
            yield from executor.map(lambda batch: compute(own.model, batch), batches)
        finally:
            executor.shutdown(cancel_futures=True)  # on a time limit's exception, waits for the current batches only


def _with_the_same_tensors(model: nn.Module, number: int) -> list[nn.Module]:
    """Return ``number`` copies of the model that share its tensors; none if the user's modules can't be copied."""
    tensors = {id(tensor): tensor for tensor in itertools.chain(model.parameters(), model.buffers())}
    try:
        return [copy.deepcopy(model, dict(tensors)) for _ in range(number)]
    except Exception:  # a user's module may raise anything
        logger.debug("the model's batches are evaluated one after the other", exc_info=True)
        return []


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Limit torch to ``num_threads`` threads within the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
