"""Which answers an own worker takes in by one task."""

from __future__ import annotations

import pytest

from orchestrator.driver.feeding import MOST_ANSWERS, MOST_BYTES, together
from tasks.messages import Response, Status
from tests.support import blob_ref, train_order, trained


def answers(*sizes: int) -> list[Response]:
    """Answers with updates of so many bytes; 0 for one without."""
    given = []
    for number, size in enumerate(sizes):
        order = train_order(f"client-{number}")
        lost = order.respond(Status.LOST)
        given.append(trained(order, blob_ref(order.update_blob, size_bytes=size)) if size else lost)
    return given


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([MOST_BYTES // 2] * 5, [2, 2, 1]),
        ([MOST_BYTES // 2 + 1] * 2, [1, 1]),
        # Given one that is longer than what is taken in together, then it goes by itself
        ([1, 10 * MOST_BYTES, 1], [1, 1, 1]),
        ([0, 10 * MOST_BYTES, 0, 0], [1, 1, 2]),
        ([1] * (MOST_ANSWERS + 1), [MOST_ANSWERS, 1]),
        ([0] * (2 * MOST_ANSWERS), [MOST_ANSWERS] * 2),
    ],
)
def test_answers_are_taken_in_together_up_to_a_number_and_to_some_bytes(sizes: list[int], expected: list[int]) -> None:
    given = answers(*sizes)
    parts = list(together(given))
    assert [len(part) for part in parts] == expected
    # Then each is taken in once, in order
    assert [answer for part in parts for answer in part] == given
