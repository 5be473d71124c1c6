from __future__ import annotations

import numpy as np
import pytest

from celeriac.workloads.examples import Examples
from orchestrator.jobs.evaluation import share_of
from tasks.errors import ConfigurationError


def examples(number: int) -> Examples:
    """Examples whose inputs are ten times their targets."""
    targets = np.arange(number)
    return Examples((10 * targets[:, None]).astype(np.float32), targets)


def test_a_share_is_drawn_by_the_seed_and_rounded_up() -> None:
    # Given eleven examples, when a quarter of them is taken, then that is three, each with its own target
    taken = share_of(examples(11), 0.25, seed=1)
    assert len(taken.targets) == len(set(taken.targets)) == 3
    np.testing.assert_array_equal(taken.inputs[:, 0], 10 * taken.targets)
    # And the same with the same seed, and others with another
    assert list(share_of(examples(11), 0.25, seed=1).targets) == list(taken.targets)
    assert any(list(share_of(examples(11), 0.25, seed=seed).targets) != list(taken.targets) for seed in range(2, 6))
    # And the examples themselves stay as they were
    whole = examples(11)
    share_of(whole, 0.25, seed=1)
    assert list(whole.targets) == list(range(11))


def test_all_of_it_may_be_anything() -> None:
    # Given held-out data that nobody knows, or none, when all of it is taken, then it is that
    opaque = object()
    assert share_of(opaque, 1.0, seed=1) is opaque
    assert share_of(None, 0.5, seed=1) is None


@pytest.mark.parametrize("data", [object(), np.zeros((4, 2)), {"inputs": [1], "targets": [1]}])
def test_a_share_of_what_has_no_inputs_and_targets_is_refused(data: object) -> None:
    with pytest.raises(ConfigurationError, match=f"^--evaluate-share 0.5 .* returned {type(data).__name__} "):
        share_of(data, 0.5, seed=1)
