from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_names_are_spelled_like_this() -> None:
    # Given a client, a run and a round, when names are asked for, then they are these
    assert names.client_queue("anna") == "client.anna"
    assert names.shared_queue("ward", 50) == "clients.ward.50"
    assert names.client_key("anna") == "fl:client:anna"
    assert names.away_key("anna") == "fl:away:anna"
    assert names.leases_key("run") == "fl:seats:run"
    assert names.order_id("anna", "run", 3, "train") == "anna/run/3/train"
    assert names.result_key("anna/run/3/train") == "celery-task-meta-anna/run/3/train"
    assert names.global_blob("run", 3) == "fl:blob:run/3"
    assert names.update_blob("anna", "run", 3) == "fl:blob:anna/run/3"
    assert names.survey_blob("anna", "run", 3) == "fl:blob:anna/run/3/survey"
    assert names.surveyed_blob("run", 3) == "fl:blob:run/3/surveyed"


IDS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,8}\Z")


@given(one=st.tuples(IDS, IDS, st.integers(0, 99)), other=st.tuples(IDS, IDS, st.integers(0, 99)))
def test_names_are_equal_only_if_what_they_name_is(one: tuple[str, str, int], other: tuple[str, str, int]) -> None:
    # Given two clients, runs and rounds
    # When their names are equal, then so are they
    assert (names.update_blob(*one) == names.update_blob(*other)) == (one == other)
    assert (names.order_id(*one, "train") == names.order_id(*other, "train")) == (one == other)
    # And nothing that a client sends lies where a global model does, or what goes out with one
    sent = {names.update_blob(*one), names.survey_blob(*one)}
    assert len(sent) == 2
    assert sent.isdisjoint({names.global_blob(*other[1:]), names.broadcast_blob(*other[1:])})
    assert sent.isdisjoint({names.surveyed_blob(*other[1:]), names.handed_out_blob(*other[1:], other[2])})


def test_everything_a_client_writes_holds_its_id() -> None:
    # Given a client, when names of what it writes are asked for, then its id is the first part of each
    for name in (names.update_blob("anna", "run", 1), names.survey_blob("anna", "run", 1)):
        assert name.removeprefix("fl:blob:").split("/")[0] == "anna"
    assert (
        names.result_key(names.order_id("anna", "run", 1, "train"))
        .removeprefix("celery-task-meta-")
        .startswith("anna/")
    )
    assert names.client_key("anna").removeprefix(names.CLIENT_KEY_PREFIX) == "anna"


def test_numbered_ids_sort_as_their_numbers_do() -> None:
    # Given ten and a hundred clients that go by one prefix, when they are numbered, then their numbers have equal width
    assert [names.numbered_client_id("ward", index, 10) for index in (0, 8, 9)] == ["ward-01", "ward-09", "ward-10"]
    client_ids = [names.numbered_client_id("ward", index, 100) for index in range(100)]
    assert (client_ids[0], client_ids[-1]) == ("ward-001", "ward-100")
    assert client_ids == sorted(set(client_ids))
