"""What a client says of itself, and how much of it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.announcement import DETAILS, UNKNOWN, Announcement, Hardware
from tests.support import announcement

WHOLE = announcement(
    "anna", labels={"3": 5}, hardware=Hardware(num_cpus=64, memory_bytes=2**40, accelerator="H100"), num_held_out=2
)


def test_of_details_only_those_are_told_that_are_wanted() -> None:
    # Given what a client could tell, when nothing is wanted, then it tells that it is there, and with how much data
    least = WHOLE.telling(())
    assert (least.labels, least.hardware, least.untold) == ({}, UNKNOWN, DETAILS)
    assert (least.client_id, least.num_examples, least.num_held_out) == ("anna", 5, 2)
    # When a detail is wanted, then it tells this one, and of the others that it doesn't
    labels, memory = WHOLE.telling(("labels",)), WHOLE.telling(("memory_bytes",))
    assert (labels.labels, labels.hardware) == ({"3": 5}, UNKNOWN)
    assert (memory.labels, memory.hardware) == ({}, Hardware(num_cpus=1, memory_bytes=2**40))
    assert memory.untold == ("labels", "num_cpus", "accelerator")
    # When all are wanted, then it tells all; what it doesn't know is passed over
    assert WHOLE.telling((*DETAILS, "shoe size")) == WHOLE


@pytest.mark.parametrize("wanted", [(), ("labels",), DETAILS])
def test_former_versions_read_it(wanted: tuple[str, ...]) -> None:
    # Given what former versions know of an announcement: all but what isn't told, and hardware in any case
    said = WHOLE.telling(wanted).model_dump(exclude={"untold"})
    assert said["hardware"]["num_cpus"] >= 1
    # Then it is one; and theirs, which says nothing of that, tells all
    assert Announcement.model_validate(said).untold == ()


@pytest.mark.parametrize("untold", ["labels", 5, [5], ["x" * 51], ["x"] * 21])
def test_what_isnt_told_is_a_few_names(untold: object) -> None:
    # Given anything else, when an announcement is made, then it is refused
    with pytest.raises(ValidationError):
        Announcement.model_validate({**WHOLE.model_dump(), "untold": untold})
