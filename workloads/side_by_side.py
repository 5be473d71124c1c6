"""Computing batches side by side with PyTorch, on all cores, so that the result doesn't depend on their number."""

from __future__ import annotations

import copy
import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

logger = logging.getLogger(__name__)

T = TypeVar("T")
FEW = 4
"""Batches that aren't worth threads."""


def side_by_side(
    compute: Callable[[nn.Module, slice], T], model: nn.Module, batches: Sequence[slice], num_threads: int
) -> Iterator[T]:
    """Yield what ``compute`` makes of a model and each batch, in the order of the batches.

    torch's threads are those that this process was given (``torch.get_num_threads()``): instead of sharing the work of
    one batch, where other numbers of them would sum in another order, each computes batches by itself.

    Args:
        compute: Called with a model and the rows of a batch, in several threads at a time.
        model: The model, in evaluation mode. Each thread gets modules of its own, with the same tensors.
        batches: The rows of each batch.
        num_threads: Threads that torch computes a batch with.
    """
    num_workers = min(torch.get_num_threads() // num_threads, len(batches))
    models = _with_the_same_tensors(model, num_workers) if num_workers > 1 and len(batches) > FEW else []
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
            yield from executor.map(lambda rows: compute(own.model, rows), batches)
        finally:
            executor.shutdown(cancel_futures=True)  # a time limit's exception waits for no more than a batch


def _with_the_same_tensors(model: nn.Module, number: int) -> list[nn.Module]:
    """Return so many models of the same tensors; none if the user's modules hold what can't be copied."""
    tensors = {id(tensor): tensor for tensor in itertools.chain(model.parameters(), model.buffers())}
    try:
        return [copy.deepcopy(model, dict(tensors)) for _ in range(number)]
    except Exception:  # whatever that is
        logger.debug("the model's batches are evaluated one after the other", exc_info=True)
        return []


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Have torch compute with so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
