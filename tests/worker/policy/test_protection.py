"""Clipping an update, and noise."""

from __future__ import annotations

import numpy as np
import pytest

from worker.policy.protection import NotProtectedError, protect
from worker.policy.rules import Protects

START = {"a": np.array([1, 1], np.float32), "b": np.array(1, np.float32), "steps": np.array(3)}


def test_an_update_that_is_too_long_is_scaled_down_to_the_norm() -> None:
    # Given changes of (2, 1) and 2, whose norm is 3
    trained = {"a": np.array([3, 2], np.float32), "b": np.array(3, np.float32), "steps": np.array(3)}
    # When they are clipped to a norm of 3/2, then each is half of it
    clipped = protect(START, trained, Protects(clip=1.5, noise=0))
    assert clipped["a"].tolist() == [2, 1.5]
    assert clipped["b"].item() == 2
    assert clipped["steps"].item() == 3
    assert [array.dtype for array in clipped.values()] == [array.dtype for array in trained.values()]


def test_a_short_update_stays_as_it_is() -> None:
    trained = {**START, "a": np.array([1.5, 1], np.float32)}
    assert protect(START, trained, Protects(clip=1.5, noise=0))["a"].tolist() == [1.5, 1]
    assert protect(START, START, Protects(clip=1.5, noise=0))["b"].item() == 1


def test_noise_has_its_standard_deviation_and_is_never_the_same() -> None:
    # Given 40,000 numbers that haven't changed: the deviation of that many is within 2 % (more than five sigma)
    start = {"w": np.zeros(40_000, np.float64)}
    first, second = (protect(start, start, Protects(clip=1, noise=0.5))["w"] for _ in range(2))
    assert first.std() == pytest.approx(0.5, rel=0.02)
    assert abs(first.mean()) < 0.02
    assert not np.array_equal(first, second)


def test_nothing_leaves_of_what_isn_t_a_float() -> None:
    protected = protect(START, {**START, "steps": np.array(99)}, Protects(clip=1, noise=0))
    assert protected["steps"].item() == 3


def test_what_isn_t_finite_isn_t_sent() -> None:
    with pytest.raises(NotProtectedError, match="the array 'b' isn't finite"):
        protect(START, {**START, "b": np.array(np.nan, np.float32)}, Protects(clip=1, noise=0))
