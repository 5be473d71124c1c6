from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.seeds import derive_seed, generator

PARTS = st.lists(st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=4)


def test_a_seed_is_worked_out_like_this() -> None:
    # Given the first 16 digits that sha256sum gives for int:1, int:2 and str:anna with \x1f between them
    digits = "1c9bb5e5910c818e"
    # When a seed is derived from these parts, then it is half of that number
    assert derive_seed(1, 2, "anna") == int(digits, 16) // 2 == 1030720626018894023


@given(seed=st.integers(), parts=PARTS)
def test_every_seed_is_a_whole_number_below_2_to_the_63(seed: int, parts: list[int | str]) -> None:
    # Given anything, when a seed is derived, then it is in range, and the same again
    assert 0 <= derive_seed(seed, *parts) < 2**63
    assert derive_seed(seed, *parts) == derive_seed(seed, *parts)


def test_every_part_counts_and_so_do_order_and_type() -> None:
    # Given parts that differ in one way each
    parts: list[tuple[int | str, ...]] = [(), (1,), (1, 2), (2, 1), ("1", 2), (12,), ("1", "2"), ("12",), (1, 2, "")]
    # When seeds are derived, then no two are equal
    seeds = {derive_seed(seed, *each) for seed in (0, 1) for each in parts}
    assert len(seeds) == 18


def test_equal_parts_make_equal_generators_whatever_came_before() -> None:
    # Given two generators, one of which was made after a third was used
    first = generator(3, "shuffle", 1).permutation(20).tolist()
    generator(3, "shuffle", 2).permutation(20)
    # When they are used, then they give the same, and another gives something else
    assert generator(3, "shuffle", 1).permutation(20).tolist() == first
    assert generator(3, "shuffle", 2).permutation(20).tolist() != first
