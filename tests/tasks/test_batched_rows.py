from __future__ import annotations

import itertools

import numpy as np
import pytest

from tasks.context import Context, TimeBudget
from tasks.messages import TrainOptions


def test_a_pass_has_each_row_once_and_each_is_shuffled_anew() -> None:
    # Given seven examples in batches of three, twice
    context = Context(options=TrainOptions(epochs=2, batch_size=3), seed=4)
    # When the steps are taken
    batches = context.batches(7)
    steps = list(batches)
    # Then a pass is three steps, with all rows in an order of its own
    assert [len(rows) for rows in steps] == [3, 3, 1] * 2
    first, second = np.concatenate(steps[:3]), np.concatenate(steps[3:])
    assert sorted(first) == sorted(second) == list(range(7))
    assert not np.array_equal(first, second)
    assert (batches.num_steps, batches.num_epochs) == (6, 2.0)


def test_one_seed_gives_one_order() -> None:
    # Given two contexts with a seed, and one with another
    one, same, other = (next(iter(Context(seed=seed).batches(50))).tolist() for seed in (1, 1, 2))
    # Then the seed alone decides
    assert one == same != other


@pytest.mark.parametrize(("max_steps", "num_epochs"), [(2, 4 / 7), (5, 9 / 7)])
def test_a_number_of_steps_goes_before_that_of_passes(max_steps: int, num_epochs: float) -> None:
    # Given seven examples in batches of two, and a number of steps
    batches = Context(options=TrainOptions(epochs=9, batch_size=2, max_steps=max_steps)).batches(7)
    # When they are taken, then there are as many, in as many passes as they take
    assert len(list(batches)) == batches.num_steps == max_steps
    assert batches.num_epochs == num_epochs


def test_steps_end_when_the_time_is_up() -> None:
    # Given time for three steps of ten
    budget = TimeBudget(4, clock=itertools.count().__next__)
    batches = Context(options=TrainOptions(epochs=1, batch_size=1), budget=budget).batches(10)
    # When they are taken, then three are, and that is remembered
    assert len(list(batches)) == 3
    assert (batches.num_steps, batches.num_epochs, budget.cut_short) == (3, 0.3, True)


@pytest.mark.parametrize("max_steps", [None, 8])
def test_no_examples_are_no_steps(max_steps: int | None) -> None:
    # Given no examples, then there is nothing to do
    batches = Context(options=TrainOptions(max_steps=max_steps)).batches(0)
    assert (list(batches), batches.num_steps, batches.num_epochs) == ([], 0, 0.0)
