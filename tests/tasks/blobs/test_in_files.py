from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.blobs import blob
from tasks.blobs.blob import publish
from tasks.blobs.in_files import MAX_SPARE, MAX_SPARE_BYTES, FileBlobs, LinkedBlobs, linked_url
from tasks.blobs.stores import open_store
from tasks.errors import BlobError, ConfigurationError
from tests.support import added_in_place, modes_under, with_umask

NAME = "fl:blob:update/anna/run/1"
NAMES = (b"anna", b"bert", b"carl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "blobs"
    path.mkdir()
    return path


@pytest.fixture
def linked(folder: Path) -> LinkedBlobs:
    return LinkedBlobs(folder)


@pytest.fixture(params=[FileBlobs, LinkedBlobs])
def store(folder: Path, request: pytest.FixtureRequest) -> FileBlobs:
    kind: type[FileBlobs] = request.param
    return kind(folder)


def views(*pieces: bytes) -> list[memoryview]:
    return [memoryview(piece) for piece in pieces]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(pieces=st.lists(st.binary(max_size=50), min_size=1, max_size=1500).filter(any))
def test_what_is_published_is_got_in_any_number_of_pieces(store: FileBlobs, pieces: list[bytes]) -> None:
    # Given pieces, when they are published, then what is got is the same
    ref = blob.publish(store, NAME, views(*pieces))
    assert bytes(store.get(ref)) == b"".join(pieces)


@pytest.mark.parametrize(("of_folder", "of_file"), [(0o700, 0o600), (0o770, 0o640), (0o777, 0o644), (0o711, 0o644)])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_whoever_may_enter_the_folder_may_read_a_blob_whatever_the_umask(
    folder: Path, of_folder: int, of_file: int, umask: int
) -> None:
    # Given a folder that some may enter
    folder.chmod(of_folder)
    (folder.parent / "model").write_bytes(b"model")
    # When blobs are put there, then the same may read them, and nobody else may write to them
    with with_umask(umask):
        store = open_store(folder.as_uri())
        blob.publish(store, NAME, views(b"update"))
        store.put_file(blob.describe("fl:blob:model/run/1", views(b"model")), folder.parent / "model")
    assert {mode for path, mode in modes_under(folder).items() if path != "."} == {of_file}


def test_a_blob_is_of_its_folder_s_group(folder: Path) -> None:
    # Given a folder of another group than the one that new files get, if there is such a group
    group = next((each for each in os.getgroups() if each != os.getegid()), 0 if os.geteuid() else 12_345)
    with suppress(PermissionError):
        os.chown(folder, -1, group)
    # When blobs are put there, then that group may read them
    store = open_store(folder.as_uri())
    assert store.identity
    blob.publish(store, NAME, views(b"update"))
    (folder.parent / "model").write_bytes(b"model")
    store.put_file(blob.describe("fl:blob:run/1", views(b"model")), folder.parent / "model")
    assert {path.stat().st_gid for path in folder.iterdir()} == {folder.stat().st_gid}


def test_the_memory_of_arrays_is_published_and_got_read_only(store: FileBlobs) -> None:
    values = np.linspace(0, 1, 1_000_000, dtype=np.float32)
    found = np.frombuffer(store.get(blob.publish(store, NAME, [values.data])), np.float32)
    np.testing.assert_array_equal(found, values)
    assert not found.flags.writeable


@pytest.mark.parametrize("is_gone", [False, True])
def test_what_is_written_to_memory_of_its_own_is_nowhere_else(store: FileBlobs, is_gone: bool) -> None:
    # Given a blob that was got, and may have been discarded since
    values = np.zeros(100_000, np.float32)
    ref = blob.publish(store, NAME, [values.data])
    data = store.get(ref)
    if is_gone:
        store.discard([NAME], values.nbytes)
    # When somebody writes to memory of its own all the same
    own = np.frombuffer(store.own(ref, data), np.float32)
    assert not own.flags.writeable
    added_in_place(own)
    # Then the others have what was published
    assert own[0] == 1
    assert np.frombuffer(data, np.float32).max() == 0
    assert is_gone or np.frombuffer(store.get(ref), np.float32).max() == 0


def test_a_file_is_published_and_taken_in_as_a_link(linked: LinkedBlobs, tmp_path: Path) -> None:
    # Given a checkpoint
    checkpoint, taken = tmp_path / "checkpoint", tmp_path / "taken"
    checkpoint.write_bytes(b"abc")
    ref = blob.describe("fl:blob:model/run/0", views(b"abc"))
    # When it is published, twice, and made a file elsewhere, twice
    for _ in range(2):
        linked.put_file(ref, checkpoint)
        linked.take_file(ref, taken)
    # Then it is there, and not one byte was copied
    assert taken.read_bytes() == b"abc"
    assert taken.samefile(checkpoint)
    # And what is discarded takes nothing else with it
    linked.discard([ref.name, "fl:blob:never/there"], 3)
    assert (linked.has(ref), taken.read_bytes(), checkpoint.read_bytes()) == (False, b"abc", b"abc")


def test_a_file_is_copied_in_and_out_where_others_can_write(folder: Path, tmp_path: Path) -> None:
    # Given a checkpoint that was published and made a file elsewhere
    store = FileBlobs(folder)
    checkpoint, taken = tmp_path / "checkpoint", tmp_path / "taken"
    checkpoint.write_bytes(b"abc")
    ref = blob.describe("fl:blob:model/run/0", views(b"abc"))
    store.put_file(ref, checkpoint)
    got = store.get(ref)
    store.take_file(ref, taken)
    # When somebody writes to the blob's file
    [path] = folder.iterdir()
    with path.open("r+b") as file:
        file.write(b"xyz")
    # Then what was read is as it was, and so is what was published
    assert (checkpoint.read_bytes(), taken.read_bytes(), bytes(got)) == (b"abc", b"abc", b"abc")
    with pytest.raises(BlobError, match="don't match their digest"):
        store.get(ref)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_neither_read_nor_waited_for(store: FileBlobs, tmp_path: Path, kind: str) -> None:
    # Given something else in the place of a blob
    ref = blob.publish(store, NAME, views(b"abc"))
    [path] = (tmp_path / "blobs").iterdir()
    path.unlink()
    (tmp_path / "secret").write_bytes(b"abc")
    make: dict[str, Callable[[], None]] = {
        "link": lambda: path.symlink_to(tmp_path / "secret"),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
    }
    make[kind]()
    # When it is read, in either way, then it is missing
    with pytest.raises(BlobError, match="is missing"):
        store.get(ref)
    with pytest.raises(BlobError, match="is missing"):
        store.take_file(ref, tmp_path / "taken")


def test_a_folder_is_known_by_whatever_path_it_is_reached(folder: Path, tmp_path: Path) -> None:
    # Given a folder that is mounted in two places, and another
    (tmp_path / "mounted").symlink_to(folder)
    (tmp_path / "other").mkdir()
    # When their identities are asked for, by several at a time, then they are two
    with ThreadPoolExecutor(8) as threads:
        of_one = set(threads.map(lambda path: FileBlobs(path).identity, 8 * [folder, tmp_path / "mounted"]))
    [identity] = of_one
    assert identity.startswith("file:")
    assert FileBlobs(tmp_path / "other").identity not in (identity, "file:")


def test_what_a_run_has_left_is_found_by_its_patterns(store: FileBlobs) -> None:
    # Given blobs of two runs
    for name in (
        "fl:blob:model/run/3",
        "fl:blob:update/anna/run/1",
        "fl:blob:model/other/3",
        "fl:blob:update/anna/other/1",
    ):
        blob.publish(store, name, views(name.encode()))
    # When those of one are discarded, then those of the other stay
    store.discard_matching(["fl:blob:model/run/*", "fl:blob:*/run/*"])
    assert not store.has(blob.describe("fl:blob:model/run/3", views(b"x")))
    assert not store.has(blob.describe("fl:blob:update/anna/run/1", views(b"x")))
    assert store.has(blob.describe("fl:blob:model/other/3", views(b"x")))
    assert store.has(blob.describe("fl:blob:update/anna/other/1", views(b"x")))


def test_a_url_says_which_folder_and_whether_files_are_linked(tmp_path: Path) -> None:
    # Given a folder whose name needs quoting, when it is named by a URL, then blobs are in it
    folder = tmp_path / "a folder%"
    folder.mkdir()
    copying, linking = open_store(folder.as_uri()), open_store(linked_url(folder))
    assert (type(copying), type(linking)) == (FileBlobs, LinkedBlobs)
    ref = blob.publish(copying, NAME, views(b"abc"))
    assert bytes(linking.get(ref)) == b"abc"
    # And nobody waits for a permit
    assert not copying.needs_permits
    assert not linking.needs_permits


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///nowhere/at/all", "there is no such folder here"),
        (f"file://{__file__}", "there is no such folder here"),
        ("file:///proc/1", "it can't be written to: "),
        ("file:relative", "write file:///FOLDER"),
        ("file://host/folder", "write file:///FOLDER"),
        ("file:///tmp?links=no", "write file:///FOLDER"),
        ("s4://bucket", "write a URL that begins with one of redis, rediss, redis+socket, sentinel, sentinels, file"),
        ("/mnt/shared", "write a URL that begins with one of redis, rediss, redis+socket, sentinel, sentinels, file"),
    ],
)
def test_a_url_of_no_store_is_refused_with_what_is_allowed(url: str, message: str) -> None:
    # Given a URL that names no store, when it is opened, then the message says what is allowed
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert str(caught.value).startswith(f"blobs {url!r}: {message}")


def test_a_new_blob_takes_the_place_of_the_old_one_for_those_who_come(store: FileBlobs) -> None:
    # Given a reader of a blob
    old = blob.publish(store, NAME, views(b"old"))
    reading = store.get(old)
    # When another of the same name is put
    new = blob.publish(store, NAME, views(b"new"))
    # Then both have what they asked for
    assert (bytes(reading), bytes(store.get(new))) == (b"old", b"new")
    with pytest.raises(BlobError, match="don't match their digest"):
        store.get(old)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"ab", "has 2 bytes instead of 3"), (b"abcd", "has 4 bytes instead of 3"), (b"abd", "don't match their digest")],
)
def test_what_was_changed_is_refused(store: FileBlobs, tmp_path: Path, content: bytes, reason: str) -> None:
    # Given a blob whose file was cut, made longer or changed
    ref = blob.publish(store, NAME, views(b"abc"))
    [path] = (tmp_path / "blobs").iterdir()
    path.write_bytes(content)
    # When it is read, in either way, then it is refused
    with pytest.raises(BlobError, match=reason):
        store.get(ref)
    with pytest.raises(BlobError, match=reason):
        store.take_file(ref, tmp_path / "taken")


def test_a_blob_that_isnt_there_is_told(store: FileBlobs, tmp_path: Path) -> None:
    ref = blob.describe(NAME, views(b"abc"))
    with pytest.raises(BlobError, match="is missing"):
        store.get(ref)
    with pytest.raises(BlobError, match="is missing"):
        store.take_file(ref, tmp_path / "taken")
    assert not store.has(ref)


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", ".."])
def test_no_name_leads_out_of_the_folder(store: FileBlobs, tmp_path: Path, name: str) -> None:
    before = set(tmp_path.rglob("*"))
    ref = blob.describe(name, views(b"abc"))
    try:
        store.put(ref, views(b"abc"))
    except OSError:
        assert name == ".."
    assert {path.parent for path in set(tmp_path.rglob("*")) - before} <= {tmp_path / "blobs"}


def test_of_a_blob_that_is_on_its_way_what_is_written_is_counted(store: FileBlobs, tmp_path: Path) -> None:
    # Given a blob, and another that is being written
    blob.publish(store, NAME, views(b"abc"))
    [path] = (tmp_path / "blobs").iterdir()
    path.with_name(f"{path.name}2.17.tmp").write_bytes(b"12345")
    # Then that is how much is there of each
    assert store.num_bytes(NAME, 3) == 3
    assert store.num_bytes(f"{NAME}2", 3) == 5
    assert store.num_bytes(f"{NAME}3", 3) == 0


def recycled(store: LinkedBlobs, path: Path) -> None:
    """A file that was written and is needed no more."""
    path.write_bytes(b"former")
    store.recycle([path])
    assert not path.exists()


def test_a_blob_is_written_over_a_file_that_nobody_needs(linked: LinkedBlobs, folder: Path, tmp_path: Path) -> None:
    # Given files that nobody needs any more: shorter than what is to come, as long, and longer
    inodes = {}
    for name, content in (("a", b"x" * 3), ("b", b"x" * 17), ("c", b"x" * 1000)):
        (tmp_path / name).write_bytes(content)
        inodes[name] = (tmp_path / name).stat().st_ino
        linked.recycle([tmp_path / name])
    # When three blobs are put, then one is in the file that is as long, with nothing of what was there
    refs = [publish(linked, name.decode(), views(b"an update of ", name)) for name in NAMES]
    assert [bytes(linked.get(ref)) for ref in refs] == [b"an update of " + name for name in NAMES]
    found = {path.stat().st_ino for path in folder.iterdir() if path.is_file()}
    assert (len(found), found & set(inodes.values())) == (3, {inodes["b"]})


def test_who_reads_a_longer_file_still_isnt_killed_when_a_blob_is_put(linked: LinkedBlobs, tmp_path: Path) -> None:
    # Given somebody who reads a file on, which others have done away with
    path = tmp_path / "update"
    path.write_bytes(b"x" * 10_000)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    linked.recycle([path])
    # When a shorter blob is put, then what is read is there to its end
    publish(linked, "fl:blob:update/anna/1", views(b"short"))
    assert mapped[-1:] == b"x"


def test_a_file_that_somebody_else_has_is_not_written_over(linked: LinkedBlobs, tmp_path: Path) -> None:
    # Given a file of two names, when one of them is done away with and a blob is put, then the other is as it was
    (tmp_path / "a").write_bytes(b"former")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    linked.recycle([tmp_path / "a"])
    publish(linked, "fl:blob:update/anna/1", [memoryview(b"latter")])
    assert (tmp_path / "b").read_bytes() == b"former"
    assert not (tmp_path / "a").exists()


def test_files_that_a_former_version_kept_are_passed_over(linked: LinkedBlobs, folder: Path, tmp_path: Path) -> None:
    # Given one that lies there by itself, when another is done away with, then that is kept as ever
    (folder / ".spare").mkdir()
    (folder / ".spare" / "anna.safetensors").write_bytes(b"former")
    recycled(linked, tmp_path / "update")
    assert [path.name for path in (folder / ".spare").glob("*/*")] == ["update"]


def test_a_file_that_can_t_be_moved_to_where_it_is_wanted_is_none(linked: LinkedBlobs, tmp_path: Path) -> None:
    # Given one that was kept, when it is wanted where none can be moved to, as on another file system, then none is had
    recycled(linked, tmp_path / "update")
    (tmp_path / "file").touch()
    assert not linked.take_spare(tmp_path / "file" / "update", len(b"former"))
    assert linked.take_spare(tmp_path / "update", len(b"former"))


def test_no_more_files_are_kept_than_are_of_use(linked: LinkedBlobs, folder: Path, tmp_path: Path) -> None:
    # Given more files than that, then those are kept, and without a folder of blobs none
    for number in range(MAX_SPARE + 3):
        recycled(linked, tmp_path / f"{number}")
        recycled(LinkedBlobs(tmp_path / "nowhere"), tmp_path / f"{number}")
    assert len(list((folder / ".spare").glob("*/*"))) == MAX_SPARE
    assert not (tmp_path / "nowhere").exists()


def test_files_are_kept_as_far_as_there_is_room(linked: LinkedBlobs, folder: Path, tmp_path: Path) -> None:
    # Given a file that is longer than all that are kept may be, one that is gone, and one that isn't
    with (tmp_path / "a").open("wb") as file:
        file.truncate(MAX_SPARE_BYTES + 1)
    (tmp_path / "c").write_bytes(b"former")
    # When they are done away with, then the last is kept
    linked.recycle([tmp_path / name for name in "abc"])
    assert [path.name for path in (folder / ".spare").glob("*/*")] == ["c"]
    assert not (tmp_path / "a").exists()
    # And when a run removes what it has left, then that goes, too
    linked.discard_matching(["fl:blob:update/*"])
    assert not (folder / ".spare").exists()


def test_two_never_write_over_the_same_file(linked: LinkedBlobs, tmp_path: Path) -> None:
    # Given spare files, fewer than the blobs that are put at once, then each blob has what was put
    for number in range(MAX_SPARE):
        recycled(linked, tmp_path / f"{number}")
    names = [f"fl:blob:{number}/1" for number in range(3 * MAX_SPARE)]
    with ThreadPoolExecutor(8) as threads:
        refs = list(threads.map(lambda name: publish(linked, name, [memoryview(name.encode())]), names))
    assert [bytes(linked.get(ref)).decode() for ref in refs] == names
