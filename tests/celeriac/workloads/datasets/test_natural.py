from __future__ import annotations

import pytest

from celeriac.workloads.datasets.natural import deal
from tasks.errors import ConfigurationError
from tasks.workload import Part


@pytest.mark.parametrize("count", [1, 3, 7, 10])
def test_each_user_is_at_one_client_and_their_numbers_differ_by_one_at_most(count: int) -> None:
    # Given ten users, when they are dealt, then all have a client, and clients as many as each other
    dealt = [deal(range(10), Part(index, count), seed=3) for index in range(count)]
    assert sorted(user for users in dealt for user in users) == list(range(10))
    assert {len(users) for users in dealt} <= {10 // count, -(-10 // count)}


def test_who_is_where_depends_on_the_seed_alone() -> None:
    names = list("abcdefghij")
    assert deal(names, Part(1, 3), seed=3) == deal(names, Part(1, 3), seed=3)
    assert deal(names, Part(1, 3), seed=3) != deal(names, Part(1, 3), seed=4)


def test_more_clients_than_users_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="11 clients for 10 users: take 1 to 10 clients"):
        deal(range(10), Part(0, 11), seed=3)
