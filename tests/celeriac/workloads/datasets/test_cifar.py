from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from celeriac.workloads.datasets.cifar import parse_binary, parse_python
from tasks.context import Context
from tasks.errors import ConfigurationError, DataMissingError
from tasks.workload import DataSource, Part, load_workload
from tests.celeriac.workloads.datasets.tiny_data_sets import (
    BOTH_LABELS,
    LABELS,
    TinyCifar10,
    TinyCifar100,
    write_cifar10,
    write_cifar100,
)
from tests.celeriac.workloads.datasets.tiny_files import cifar_batch, cifar_python


@pytest.mark.parametrize("binary", [True, False])
def test_both_formats_of_cifar_10_are_read(tmp_path: Path, *, binary: bool) -> None:
    # Given sixty images in five files of either format, and ten more
    folder = write_cifar10(tmp_path, binary=binary)
    # When three clients load their data, and the orchestrator its own
    workload = TinyCifar10()
    clients = [workload.client_data(DataSource(folder, Part(index, 3))) for index in range(3)]
    held_out = workload.holdout_data(folder)
    # Then each image is at one client, in colour, with its label
    numbers = []
    for data in clients:
        assert data.train.inputs.shape == (18, 3, 32, 32)
        for examples in (data.train, data.test):
            pixels = np.rint(examples.inputs * 255).astype(int)
            assert (pixels == pixels[:, :1, :1, :1] + 90 * np.arange(3)[None, :, None, None]).all()
            assert (pixels[:, 0, 0, 0] % 10).tolist() == examples.targets.tolist()
            numbers += pixels[:, 0, 0, 0].tolist()
    assert sorted(numbers) == list(range(60))
    assert held_out.targets.tolist() == list(range(10))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("labels", "num_classes"), [("fine", 100), ("coarse", 20)])
def test_cifar_100_has_fine_labels_and_coarse_ones(
    tmp_path: Path, labels: str, num_classes: int, *, binary: bool
) -> None:
    # Given images with both labels
    folder = write_cifar100(tmp_path, binary=binary)
    # When a workload for one of them reads it
    workload = TinyCifar100(labels)
    # Then it has these, and an output each
    assert workload.shared_labels(folder).tolist() == [number % num_classes for number in range(60)]
    assert list(workload.initial_parameters(Context(seed=1)).values())[-1].shape == (num_classes,)


@pytest.mark.parametrize("by_columns", [False, True])
def test_the_python_format_is_read_as_unpickling_would(*, by_columns: bool) -> None:
    # Given a batch in Python 2's form, the array stored by rows or by columns
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (7, 3072), dtype=np.uint8)
    labels = rng.integers(0, 20, (7, 2), dtype=np.uint8)
    content = cifar_python(labels, images, BOTH_LABELS, by_columns=by_columns)
    # When it is read without being unpickled
    batch = parse_python(BOTH_LABELS, memoryview(content), Path("train"))
    # Then it is what unpickling finds
    unpickled = pickle.loads(content, encoding="latin1")
    assert batch.images.reshape(7, 3072).tolist() == unpickled["data"].tolist() == images.tolist()
    assert batch.labels.T.tolist() == [unpickled[name] for name in BOTH_LABELS] == labels.T.tolist()


def test_a_pickle_of_python_3_is_read_too() -> None:
    # Given a batch that someone has pickled anew, when it is read, then it is the same
    labels, images = cifar_batch(0, 12, (10,))
    content = pickle.dumps({"labels": labels[:, 0].tolist(), "data": images}, protocol=2)
    batch = parse_python(LABELS, memoryview(content), Path("test_batch"))
    assert batch.labels.tolist() == labels.tolist()
    assert batch.images.reshape(12, 3072).tolist() == images.tolist()


def test_nothing_in_a_pickle_is_carried_out(tmp_path: Path) -> None:
    # Given a pickle that makes a folder when it is unpickled, and then is a batch
    evil = tmp_path / "evil"
    content = b"cos\nmkdir\n(V" + str(evil).encode() + b"\ntR0" + cifar_python(*cifar_batch(0, 12, (10,)), LABELS)
    # When it is read, then that isn't done
    assert len(parse_python(LABELS, memoryview(content), Path("test_batch")).images) == 12
    assert not evil.exists()
    pickle.loads(content, encoding="latin1")
    assert evil.is_dir()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no pickle of CIFAR's"),
        (b"not a pickle", "no pickle of CIFAR's"),
        (pickle.dumps({"labels": [1, 2]}), "has 2 labels and 0 bytes of pixels: 3,072 for each label are needed"),
        (cifar_python(*cifar_batch(0, 12, (10,)), LABELS)[:-900], "no pickle of CIFAR's|has 12 labels"),
        (cifar_python(*cifar_batch(0, 12, (20, 100)), ("labels", "more"))[:9], "no pickle of CIFAR's"),
    ],
)
def test_what_is_no_batch_is_refused(content: bytes, message: str) -> None:
    # Given something else, or a part of a batch, when it is read, then the message names the file
    with pytest.raises(DataMissingError, match=f"data_batch_1 .*({message})"):
        parse_python(LABELS, memoryview(content), Path("data_batch_1"))


def test_a_binary_file_that_is_cut_short_is_refused() -> None:
    # Given a record and a half, when it is read, then the number of bytes is said, and what is needed
    with pytest.raises(DataMissingError, match=r"has 4,609 bytes: a multiple of 3,073, an image each, is needed"):
        parse_binary(1, memoryview(bytes(4609)), Path("test_batch.bin"))


def test_a_label_that_there_is_not_is_refused(tmp_path: Path) -> None:
    # Given an image of class 10, when it is read, then that is said
    (tmp_path / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(DataMissingError, match="CIFAR-10 has label 10: 0 to 9 are allowed"):
        TinyCifar10().holdout_data(tmp_path)


def test_files_of_the_python_format_are_checked_by_their_digest(tmp_path: Path) -> None:
    # Given well-formed files that aren't the originals, when they are read, then they are refused
    with pytest.raises(DataMissingError, match=r"not CIFAR-10's original test_batch: .* md5 "):
        load_workload("cifar10").holdout_data(write_cifar10(tmp_path, binary=False))


def test_what_is_missing_is_said_with_both_formats_names(tmp_path: Path) -> None:
    # Given an empty folder, when it is read, then names, folders and the archive are said
    with pytest.raises(DataMissingError) as caught:
        load_workload("cifar100").holdout_data(tmp_path)
    assert "there is no test.bin or test.bin.gz or test or test.gz in " in str(caught.value)
    assert "or its folder cifar-100-binary or cifar-100-python. " in str(caught.value)
    assert f"cifar-100-binary.tar.gz -C {tmp_path}" in str(caught.value)


def test_labels_are_fine_or_coarse() -> None:
    # Given another word, when the workload is made, then both are said
    with pytest.raises(ConfigurationError, match="labels=rough: fine or coarse is allowed"):
        load_workload("cifar100,labels=rough")
