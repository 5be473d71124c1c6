from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.workloads.splits.iid import iid_parts
from tasks.errors import ConfigurationError


@given(num_examples=st.integers(1, 200), data=st.data(), seed=st.integers(0, 2**63 - 1))
def test_sizes_differ_by_at_most_one_and_the_larger_parts_come_first(
    num_examples: int, data: st.DataObject, seed: int
) -> None:
    # Given any number of parts that the examples suffice for
    num_parts = data.draw(st.integers(1, num_examples))
    # When they are dealt out, then nobody has two more than another: ten in three parts are four, three and three
    sizes = [len(part) for part in iid_parts(np.zeros(num_examples, np.int64), num_parts, seed)]
    assert sizes == [num_examples // num_parts + (index < num_examples % num_parts) for index in range(num_parts)]


def test_nothing_cant_be_split() -> None:
    # Given no examples, when they are dealt out, then the message says what was asked for
    with pytest.raises(ConfigurationError, match="0 examples can't be split into 1 parts"):
        iid_parts(np.zeros(0, np.int64), 1, seed=1)
