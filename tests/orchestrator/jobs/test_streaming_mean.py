from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.aggregators import WeightedUpdate, kernel
from celeriac.aggregators.mean import GROUP, weighted_mean
from orchestrator.jobs.disproportion import AT_ONCE
from orchestrator.jobs.streaming_mean import StreamingMean
from tasks.arrays import Array, spec_of, write_file

SHAPES = {"bias": (3,), "empty": (0, 2), "flag": (), "weights": (70, 1000)}  # the last is longer than a block
DTYPES = {"bias": np.float16, "empty": np.float32, "flag": np.int64, "weights": np.float32}


def update(seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: np.asarray(100 * rng.standard_normal(shape)).astype(DTYPES[name]) for name, shape in SHAPES.items()}


NUM_BYTES = 8 * sum(math.prod(shape) for shape in SHAPES.values())
"""Of the sums."""


class Folder:
    """A folder into which updates are put, and what they weigh."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weights: dict[str, float] = {}

    def put(self, weight: float, *client_ids: str) -> None:
        for client_id in client_ids:
            if weight:
                write_file(self.file(client_id), update(int(client_id)))
            self.weights[client_id] = weight

    def file(self, client_id: str) -> Path:
        return self.path / f"{client_id}.safetensors"

    def remove(self, client_ids: Iterable[str]) -> None:
        for client_id in client_ids:
            self.file(client_id).unlink(missing_ok=True)

    def running(self) -> StreamingMean:
        """As another process would open it."""
        return StreamingMean(self.path, spec_of(update(0)), self.file, self.remove)


def expected(order: Sequence[str], weights: Mapping[str, float]) -> dict[str, Array]:
    return weighted_mean([WeightedUpdate(update(int(name)), weights[name]) for name in order if weights[name]])


def assert_mean(folder: Folder, order: Sequence[str]) -> None:
    """Add all that is there, as the round is closed, and check that it is the mean to the last bit."""
    running = folder.running()
    running.add(order, folder.weights.get, all_of_them=True)
    assert_equal(running.mean(), expected(order, folder.weights))


def assert_equal(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values, strict=True)


@pytest.mark.parametrize("has_kernel", [True, False])
@settings(max_examples=15, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 1.0, 3.0, 1e6]), min_size=1, max_size=2 * AT_ONCE + 3).filter(any),
    seed=st.integers(0, 2**32),
)
def test_whatever_the_order_of_arrival_it_is_the_mean_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, has_kernel: bool, weights: list[float], seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "LARGE_BYTES", 0 if has_kernel else 10**9)
        check_any_order(Folder(tmp_path_factory.mktemp("sum")), weights, seed)


def check_any_order(folder: Folder, weights: list[float], seed: int) -> None:
    # Given slots, some of them without an update, that are filled in any order
    order = [str(number) for number in range(len(weights))]
    for name in np.random.default_rng(seed).permutation(order):
        folder.put(weights[int(name)], str(name))
        # When each is followed by a look of a process of its own
        folder.running().add(order, folder.weights.get)
        # Then no more files are kept than wait for those before them, or for enough to be added
        passed = (
            json.loads((folder.path / "sums.json").read_text())["position"]
            if len(weights) >= AT_ONCE and (folder.path / "sums.json").exists()
            else 0
        )
        assert {path.stem for path in folder.path.glob("*.safetensors")} == {
            name for name, weight in folder.weights.items() if weight and int(name) >= passed
        }
    # Then it is what the mean of all of them would have been
    assert_mean(folder, order)
    assert not list(folder.path.glob("*.safetensors"))


@pytest.mark.parametrize("num_updates", [GROUP - 1, GROUP, GROUP + 1, 2 * GROUP, 2 * GROUP + AT_ONCE + 1])
def test_groups_of_updates_are_summed_each_by_itself(tmp_path: Path, num_updates: int) -> None:
    # Given as many slots with updates as about one group has, or two, and others between them that have none
    weights = [weight for number in range(num_updates) for weight in (number + 1.0, 0.0)[: 1 + (number % 5 == 0)]]
    # When they are added as they come, then it is the mean of all to the last bit
    check_any_order(Folder(tmp_path), weights, seed=num_updates)


def test_a_process_that_is_killed_as_it_begins_a_group_changes_nothing(tmp_path: Path) -> None:
    # Given two groups that are whole, and what a process has written of the third before it was killed
    folder = Folder(tmp_path)
    order = [str(number) for number in range(2 * GROUP + AT_ONCE)]
    folder.put(7.0, *order[: 2 * GROUP])
    folder.running().add(order, folder.weights.get)
    state = json.loads((tmp_path / "sums.json").read_text())
    (tmp_path / f"sums-{1 - state['current']}").write_bytes(bytes([255]) * NUM_BYTES)
    (tmp_path / f"former-{1 - state['former']}").write_bytes(bytes([255]) * NUM_BYTES)
    # When others go on, then nothing was counted twice or forgotten
    folder.put(3.0, *order[2 * GROUP :])
    assert_mean(folder, order)


def test_slots_that_are_added_to_a_round_come_last(tmp_path: Path) -> None:
    # Given enough updates to be added, and then another client's, whose id comes before theirs
    folder = Folder(tmp_path)
    order = [str(number) for number in range(10, 10 + AT_ONCE)]
    folder.put(1.0, *order)
    folder.running().add(order, folder.weights.get)
    folder.put(2.0, "5")
    # When it is added, then the mean is that of all
    assert_mean(folder, [*order, "5"])


@pytest.mark.parametrize("garbage", [b"", b"garbage" * 1000, bytes([255]) * NUM_BYTES])
def test_a_process_that_is_killed_while_it_adds_changes_nothing(tmp_path: Path, garbage: bytes) -> None:
    # Given a sum, and a process that was killed while it wrote the next: the other file may be anything
    folder = Folder(tmp_path)
    order = [str(number) for number in range(2 * AT_ONCE)]
    folder.put(1.0, *order[:AT_ONCE])
    folder.running().add(order, folder.weights.get)
    current = json.loads((tmp_path / "sums.json").read_text())["current"]
    (tmp_path / f"sums-{1 - current}").write_bytes(garbage)
    # When others go on
    folder.put(2.0, *order[AT_ONCE:])
    # Then nothing was counted twice or forgotten
    assert_mean(folder, order)


def test_a_sum_begins_with_nothing_whatever_the_files_hold(tmp_path: Path) -> None:
    # Given files of NaNs in the place of sums, and nothing that says how far they have come
    for number in (0, 1):
        (tmp_path / f"sums-{number}").write_bytes(bytes([255]) * NUM_BYTES)
    folder = Folder(tmp_path)
    folder.put(1.0, *"01")
    # When updates are added, then the mean is theirs
    assert_mean(folder, "01")


def test_a_file_that_was_added_and_not_removed_is_not_added_again(tmp_path: Path) -> None:
    # Given a process that was killed when it had said what it added, before it removed the files
    folder = Folder(tmp_path)
    order = [str(number) for number in range(AT_ONCE + 1)]
    folder.put(1.0, *order[:AT_ONCE])
    folder.running().add(order, folder.weights.get)
    folder.put(1.0, *order)
    # When the rest is added, then each counts once
    assert_mean(folder, order)


def test_while_another_process_adds_nothing_is_done_but_at_the_end(tmp_path: Path) -> None:
    # Given a process that adds
    folder = Folder(tmp_path)
    order = [str(number) for number in range(AT_ONCE)]
    folder.put(1.0, *order)
    with (tmp_path / "sums.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # When another comes, then it leaves it at that
        folder.running().add(order, folder.weights.get)
        assert len(list(tmp_path.glob("*.safetensors"))) == AT_ONCE
    # And what it has left is added by who comes next
    folder.running().add(order, folder.weights.get)
    assert not list(tmp_path.glob("*.safetensors"))


def test_sums_of_the_largest_numbers_dont_overflow(tmp_path: Path) -> None:
    # Given three updates of the largest float64, with large weights
    folder, largest = Folder(tmp_path), {"w": np.full(3, np.finfo(np.float64).max)}
    for name in "012":
        write_file(folder.file(name), largest)
    running = StreamingMean(tmp_path, spec_of(largest), folder.file, folder.remove)
    # When they are added, then the mean is the same
    running.add(["0", "1", "2"], lambda _: 1e12, all_of_them=True)
    np.testing.assert_allclose(running.mean()["w"], largest["w"], rtol=1e-15)


def test_updates_that_weigh_nothing_have_no_mean(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.put(0.0, "0")
    running = folder.running()
    running.add(["0"], folder.weights.get, all_of_them=True)
    with pytest.raises(ValueError, match="0 updates weigh 0"):
        running.mean()
