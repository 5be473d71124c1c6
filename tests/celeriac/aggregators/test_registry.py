from __future__ import annotations

import pytest

from celeriac.aggregators import AGGREGATORS, load_aggregator
from celeriac.aggregators.krum import aggregate_krum
from celeriac.aggregators.mean import aggregate_mean
from tasks.errors import LoadError


def test_aggregators_are_found_by_name_or_are_the_users_own() -> None:
    # Given the registry, when names are looked for, then each is a function of its own
    found = {name: load_aggregator(name) for name in AGGREGATORS}
    assert found["mean"] is aggregate_mean
    assert len(set(found.values())) == 9
    assert load_aggregator("celeriac.aggregators.krum:aggregate_krum") is aggregate_krum


def test_what_cant_be_called_is_no_aggregator() -> None:
    # Given a module's number, when it is loaded as an aggregator, then it is refused
    with pytest.raises(LoadError, match=r"aggregator 'celeriac\.aggregators\.blocks:BLOCK' is int, not a function"):
        load_aggregator("celeriac.aggregators.blocks:BLOCK")
