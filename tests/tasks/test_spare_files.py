from __future__ import annotations

import mmap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.run_folder import RunFolder
from tasks import blobs
from tasks.local_blobs import LocalBlobs
from tasks.spare_files import MOST, SpareFiles
from tests.support import round_record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "blobs"
    path.mkdir()
    return path


def written(path: Path, content: bytes = b"former") -> Path:
    path.write_bytes(content)
    return path


def test_a_blob_is_written_over_a_file_that_nobody_needs(folder: Path, tmp_path: Path) -> None:
    # Given a store, and files, shorter and longer than what is to come, that nobody needs any more
    store, spare = LocalBlobs(folder), SpareFiles(folder)
    given = [written(tmp_path / "a", b"x" * 3), written(tmp_path / "b", b"x" * 1000)]
    inodes = {path.stat().st_ino for path in given}
    for path in given:
        spare.give(path)
        assert not path.exists()
    # When two blobs are put, then they are in those files, with nothing of what was in them
    names = ["fl:blob:anna/1", "fl:blob:bert/1"]
    refs = [blobs.publish(store, name, [memoryview(b"a new update"), memoryview(name.encode())]) for name in names]
    assert [bytes(store.get(ref)) for ref in refs] == [b"a new update" + name.encode() for name in names]
    taken = [tmp_path / "c", tmp_path / "d"]
    for ref, path in zip(refs, taken, strict=True):
        store.get_file(ref, path)
    assert {path.stat().st_ino for path in taken} == inodes
    # And a third is in a new one
    third = blobs.publish(store, "fl:blob:carl/1", [memoryview(b"another")])
    assert bytes(store.get(third)) == b"another"


def test_a_file_that_somebody_else_has_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    # Given a file of two names
    path, other = written(tmp_path / "a"), tmp_path / "b"
    other.hardlink_to(path)
    # When one of them is given away, then it is gone, and no spare file
    SpareFiles(folder).give(path)
    assert not path.exists()
    assert not SpareFiles(folder).take(tmp_path / "c")
    assert other.read_bytes() == b"former"


def test_no_more_files_are_kept_than_are_of_use(folder: Path, tmp_path: Path) -> None:
    # Given more files than that
    spare = SpareFiles(folder)
    for number in range(MOST + 3):
        path = written(tmp_path / f"{number}")
        spare.give(path)
        assert not path.exists()
    # When they are taken, then there are no more than that
    assert [spare.take(tmp_path / f"taken-{number}") for number in range(MOST + 1)] == [True] * MOST + [False]


def test_without_a_folder_of_blobs_files_are_removed(tmp_path: Path) -> None:
    # Given no folder of blobs, as where updates go through the broker
    spare, path = SpareFiles(tmp_path / "blobs"), written(tmp_path / "a")
    # When a file is given, once more too, then it is gone
    for _ in range(2):
        spare.give(path)
    assert not path.exists()
    assert not spare.take(path)
    assert list(tmp_path.iterdir()) == []


def test_two_never_take_the_same_file(folder: Path, tmp_path: Path) -> None:
    # Given spare files, fewer than those who want one
    for number in range(MOST):
        SpareFiles(folder).give(written(tmp_path / f"{number}", str(number).encode()))
    # When all take one at once
    wanted = [tmp_path / f"taken-{number}" for number in range(2 * MOST)]
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(SpareFiles(folder).take, wanted))
    # Then each file is somebody's alone
    assert sorted(path.read_bytes() for path, has in zip(wanted, taken, strict=True) if has) == sorted(
        str(number).encode() for number in range(MOST)
    )


def test_a_closed_rounds_updates_are_not_written_over(tmp_path: Path) -> None:
    # Given a run whose blobs are in its folder, and an update that a task which was sent twice still reads
    run = RunFolder(tmp_path)
    run.blobs.mkdir()
    run.updates(1).mkdir(parents=True)
    with written(run.updates(1) / "anna.safetensors", b"x" * 9000).open("rb") as file:
        reading = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # When the round is closed and the next one's update is written
    run.close_round(round_record(1))
    blobs.publish(LocalBlobs(run.blobs), "fl:blob:anna/2", [memoryview(b"y" * 9000)])
    # Then what is read is as it was
    assert reading[:] == b"x" * 9000
