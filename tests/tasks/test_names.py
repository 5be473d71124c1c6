from __future__ import annotations

import pytest

from tasks import names
from tasks.errors import ConfigurationError


@pytest.mark.parametrize("client_id", ["a", "7", "anna", "anna.b-c_d", "A" * 64, "0..--__"])
def test_a_client_id_that_is_allowed_is_returned(client_id: str) -> None:
    # Given an id of allowed letters, when it is checked, then it is returned
    assert names.check_client_id(client_id) == client_id


@pytest.mark.parametrize(
    "client_id", ["", "-a", ".a", "..", "_a", "a b", "a/b", "a\n", "\na", "a:b", "ä", "a*", "A" * 65, "a\0"]
)
def test_a_client_id_that_isnt_allowed_is_refused_with_what_is(client_id: str) -> None:
    # Given an id that can't be a key or a file's name, when it is checked, then the message says what is allowed
    with pytest.raises(
        ConfigurationError, match=r"client id .*: 1 to 64 letters, digits, '\.', '_' or '-' are"
    ) as caught:
        names.check_client_id(client_id)
    assert repr(client_id) in str(caught.value)


def test_numbered_ids_sort_as_their_numbers_do() -> None:
    # Given ten and a hundred clients that go by one prefix, when they are numbered, then their numbers have equal width
    assert [names.numbered_client_id("ward", index, 10) for index in (0, 8, 9)] == ["ward-01", "ward-09", "ward-10"]
    client_ids = [names.numbered_client_id("ward", index, 100) for index in range(100)]
    assert (client_ids[0], client_ids[-1]) == ("ward-001", "ward-100")
    assert client_ids == sorted(set(client_ids))
