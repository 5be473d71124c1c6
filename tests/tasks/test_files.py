from __future__ import annotations

from pathlib import Path

import pytest

from tasks.files import link_or_copy, remove_temporaries, replacing


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_takes_the_place_of_another_when_all_is_written(tmp_path: Path, durable: bool) -> None:
    # Given a file, when another is written that is to take its place, then it is as it was until that is whole
    path = tmp_path / "model"
    path.write_bytes(b"before")
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_stays_if_what_was_to_take_its_place_could_not_be_written(tmp_path: Path) -> None:
    # Given a file, when there is nothing to take its place, then it is as it was, and nothing is left behind
    path = tmp_path / "model"
    path.write_bytes(b"before")
    with pytest.raises(FileNotFoundError), replacing(path) as temporary:
        link_or_copy(tmp_path / "missing", temporary)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_another_name_of_the_same_file_leaves_nothing_behind(tmp_path: Path) -> None:
    # Given a file, when a link to it is to take its place, then it is there still, and alone
    path = tmp_path / "model"
    path.write_bytes(b"before")
    with replacing(path) as temporary:
        link_or_copy(path, temporary)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_has_left_is_known_by_its_name(tmp_path: Path) -> None:
    # Given the name that a file has while it is written, and one of a user's
    with replacing(tmp_path / "model") as temporary:
        temporary.write_bytes(b"")
        left = [temporary, tmp_path / "notes.tmp"]
        left[1].write_bytes(b"")
        # When those that processes have left are removed, then the user's stays
        remove_temporaries(left)
        assert [path.exists() for path in left] == [False, True]
        temporary.write_bytes(b"")
