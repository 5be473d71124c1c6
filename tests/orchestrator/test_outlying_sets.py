from __future__ import annotations

import numpy as np
import pytest

from orchestrator.outlying_sets import outlying_sets


def sets_of(*lengths: float) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Clients whose set c is as long as said."""
    return {f"client-{k}": {"c": {"w": np.array([0.6, 0.8]) * length}} for k, length in enumerate(lengths)}


@pytest.mark.parametrize("length", [1e38, 1e100, 10.0, 2.1])
def test_a_set_that_is_far_longer_than_the_others_is_told(length: float) -> None:
    # Given three clients whose sets have length 1, and one whose set is longer
    reasons = outlying_sets(sets_of(1, 1, length, 1))
    # Then that one is found, with both lengths
    assert list(reasons) == ["client-2"]
    assert "has length" in reasons["client-2"]
    assert "the median has 1" in reasons["client-2"]


def test_sets_that_differ_as_clients_do_are_left() -> None:
    assert outlying_sets(sets_of(1, 1.5, 0.2, 1.9, 0.0)) == {}
    assert outlying_sets(sets_of(0.0, 0.0, 0.0)) == {}


def test_where_lengths_are_spread_widely_it_takes_more() -> None:
    # Given lengths 1, 2, 3, 4, 5: median 3, MAD 1; then 3 + max(3, 5 * 1.4826) = 10.413 is the limit
    assert outlying_sets(sets_of(1, 2, 3, 4, 10.4)) == {}
    assert list(outlying_sets(sets_of(1, 2, 3, 4, 10.5))) == ["client-4"]


def test_of_two_nobody_is_told_from_the_other() -> None:
    assert outlying_sets(sets_of(1, 1e30)) == {}
    assert outlying_sets({}) == {}
