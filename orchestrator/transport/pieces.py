"""Cutting what is to be sent into pieces, each of which goes by one message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_pieces(items: Sequence[T], weights: Sequence[float], most: int, limit: float) -> Iterator[Sequence[T]]:
    """Yield items in order, ``most`` at a time, and no more than weigh ``limit`` in all; one that weighs more is alone.

    Args:
        items: The items.
        weights: What each weighs: its bytes, or its seconds.
        most: Items in a piece at the most, 1 or more.
        limit: What a piece weighs at the most, if it has more than one item.
    """
    start, total = 0, 0.0
    for index, weight in enumerate(weights):
        if index > start and (index - start == most or total + weight > limit):
            yield items[start:index]
            start, total = index, 0.0
        total += weight
    if items:
        yield items[start:]
