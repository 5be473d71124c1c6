"""Signatures over messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.trust.keys import new_key
from tasks.trust.signing import NotSignedError, check_signed, signed

KEY = new_key()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_a_signed_message_is_right_after_a_way_as_json(message: dict[str, object]) -> None:
    message.pop("signature", None)
    travelled = json.loads(json.dumps(signed("answer", message, KEY)))
    check_signed("answer", travelled, KEY.public_key())
    assert {name: value for name, value in travelled.items() if name != "signature"} == message


@pytest.mark.parametrize(
    "change",
    [{"status": "failed"}, {"more": 1}, {"num_examples": 10.0}, {"signature": ""}, {"signature": "A" * 88}, {"x": {}}],
)
def test_a_changed_message_is_refused(change: dict[str, object]) -> None:
    said = signed("answer", {"status": "trained", "num_examples": 10, "x": {"deep": [1, 2]}}, KEY)
    with pytest.raises(NotSignedError):
        check_signed("answer", {**said, **change}, KEY.public_key())


def test_a_message_of_another_kind_or_of_another_is_refused() -> None:
    said = signed("order/evaluate", {"a": 1}, KEY)
    with pytest.raises(NotSignedError):
        check_signed("order/train", said, KEY.public_key())
    with pytest.raises(NotSignedError):
        check_signed("order/evaluate", said, new_key().public_key())


@pytest.mark.parametrize("message", [None, [], "text", 5, {}, {"signature": 5}, {"signature": ["A" * 88]}])
def test_what_is_no_signed_message_is_refused(message: object) -> None:
    with pytest.raises(NotSignedError):
        check_signed("answer", message, KEY.public_key())


def test_a_message_too_deep_to_be_read_is_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotSignedError):
        check_signed("answer", {"deep": deep, "signature": "A" * 88}, KEY.public_key())
