from __future__ import annotations

import numpy as np
import pytest

from celeriac.workloads.examples import Examples
from tasks.errors import DataMissingError


def four_examples() -> Examples:
    return Examples(np.arange(8, dtype=np.float32).reshape(4, 2), np.array([7, 0, 7, 3], dtype=np.int64))


def test_subset_keeps_inputs_and_targets_together_in_the_order_asked_for() -> None:
    # Given four examples
    examples = four_examples()
    # When two are taken, the last first
    subset = examples.subset(np.array([3, 1], dtype=np.int64))
    # Then each kept its target
    assert subset.inputs.tolist() == [[6, 7], [2, 3]]
    assert subset.targets.tolist() == [3, 0]


def test_subset_is_a_copy() -> None:
    # Given a subset
    examples = four_examples()
    subset = examples.subset(np.array([0], dtype=np.int64))
    # When it is changed
    subset.inputs[0, 0] = 99
    # Then the whole is as it was
    assert examples.inputs[0, 0] == 0


def test_labels_are_counted_in_ascending_order() -> None:
    # Given targets 7, 0, 7, 3
    labels = four_examples().labels()
    # Then each class that occurs has its count
    assert list(labels.items()) == [("0", 1), ("3", 1), ("7", 2)]


def test_no_examples_have_length_zero_and_no_labels() -> None:
    # Given a subset of none
    none = four_examples().subset(np.array([], dtype=np.int64))
    # Then it is empty but keeps its shape
    assert len(none) == 0
    assert none.labels() == {}
    assert none.inputs.shape == (0, 2)


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (np.zeros((3, 2), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 2), np.float32), np.zeros((2, 1), np.int64)),
        (np.zeros((2, 2), np.float64), np.zeros(2, np.int64)),
        (np.zeros((2, 2), np.float32), np.zeros(2, np.int32)),
    ],
)
def test_unequal_lengths_and_other_dtypes_are_refused(inputs: np.ndarray, targets: np.ndarray) -> None:
    # Given inputs and targets that don't go together, when examples are made of them, then that is an error
    with pytest.raises(DataMissingError, match="inputs"):
        Examples(inputs, targets)
