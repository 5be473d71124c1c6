from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tasks.arrays import copied
from worker.shared_models import Fetched, forget_shared, shared


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    forget_shared()
    yield
    forget_shared()


def fetching(value: float, fetched: list[float]) -> Callable[[], Fetched]:
    def fetch() -> Fetched:
        fetched.append(value)
        arrays = {"w": np.full(2, value)}
        return Fetched(arrays, lambda: copied(arrays))

    return fetch


def test_a_model_is_fetched_once_for_all_clients_and_the_last_is_kept() -> None:
    # Given a process that was asked for two models and a broadcast
    fetched: list[float] = []
    first = shared("model", "a", fetching(1, fetched))
    assert shared("model", "a", fetching(2, fetched)) is first
    shared("broadcast", "x", fetching(3, fetched))
    # When it is asked again, then a broadcast and a model stand beside each other
    assert shared("model", "a", fetching(4, fetched)) is first
    # And a new model takes the old one's place
    assert shared("model", "b", fetching(5, fetched)).arrays["w"].tolist() == [5, 5]
    shared("model", "a", fetching(6, fetched))
    shared("broadcast", "x", fetching(7, fetched))
    assert fetched == [1, 3, 5, 6]


def test_what_could_not_be_fetched_is_not_kept() -> None:
    # Given a model that can't be fetched
    def fail() -> Fetched:
        raise OSError("the network is down")

    with pytest.raises(OSError, match="down"):
        shared("model", "a", fail)
    # When it is asked for again, then it is fetched
    fetched: list[float] = []
    shared("model", "a", fetching(1, fetched))
    assert fetched == [1]
