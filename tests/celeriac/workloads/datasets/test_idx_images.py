from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from celeriac.workloads.datasets.emnist import CLASSES, Emnist
from celeriac.workloads.datasets.fashion_mnist import FashionMnist
from celeriac.workloads.datasets.idx_images import IdxFiles
from celeriac.workloads.datasets.mnist import Mnist
from tasks.context import Context
from tasks.errors import ConfigurationError, DataMissingError
from tasks.workload import DataSource, Part, load_workload
from tests.celeriac.workloads.datasets.tiny_data_sets import TinyEmnist, emnist_names
from tests.celeriac.workloads.datasets.tiny_files import idx_bytes, write_idx

NAMES = IdxFiles()


def test_fashion_mnist_has_mnist_s_names_and_digests_of_its_own(tmp_path: Path) -> None:
    # Given files of MNIST's names with other content, in the folder that Debian's package unpacks to
    folder = tmp_path / "usr/share/datasets/fashion-mnist"
    folder.mkdir(parents=True)
    write_idx(folder, NAMES, 20, 10, range(10))
    # When one is read, then it is found, and refused; the message has the way to the originals
    with pytest.raises(DataMissingError, match=r"is not FashionMNIST's original t10k-images-.*sha256") as caught:
        load_workload("fashion-mnist").holdout_data(tmp_path)
    assert f"apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist_*.deb {tmp_path};" in str(
        caught.value
    )
    assert FashionMnist.originals.digests.keys() == Mnist.originals.digests.keys()
    assert set(FashionMnist.originals.digests.values()).isdisjoint(Mnist.originals.digests.values())


@pytest.mark.parametrize("variant", CLASSES)
def test_emnist_s_images_are_put_right_and_its_classes_counted_from_0(tmp_path: Path, variant: str) -> None:
    # Given the files of one of its data sets, letters' labels from 1, one of them gzipped in NIST's folder
    workload = TinyEmnist(variant)
    first = 1 if variant == "letters" else 0
    write_idx(tmp_path, emnist_names(variant), 120, 30, range(first, first + CLASSES[variant]))
    images = tmp_path / f"emnist-{variant}-train-images-idx3-ubyte"
    (tmp_path / "gzip").mkdir()
    (tmp_path / "gzip" / f"{images.name}.gz").write_bytes(gzip.compress(images.read_bytes()))
    images.unlink()
    # When the second of four clients loads its data, and the orchestrator its own
    data, held_out = workload.client_data(DataSource(tmp_path, Part(1, 4))), workload.holdout_data(tmp_path)
    # Then the mark at the top right is at the bottom left, and labels go from 0
    assert (data.num_train, len(data.test), len(held_out)) == (27, 3, 30)
    assert np.unique(data.train.inputs[:, 27, 0]).tolist() == [1.0]
    assert data.train.inputs[:, 0, 27].max() < 1
    assert held_out.targets.tolist() == [number % CLASSES[variant] for number in range(30)]
    # And the net has an output a class
    outputs = list(workload.initial_parameters(Context(seed=1)).values())[-1]
    assert outputs.shape == (CLASSES[variant],)


def test_a_data_set_that_emnist_does_not_have_is_refused() -> None:
    # Given a name that isn't one of the six, when the workload is made, then they are listed
    with pytest.raises(ConfigurationError, match=r"variant=words: one of byclass, bymerge, .* is allowed"):
        load_workload("emnist,variant=words")


def test_emnist_with_another_number_of_examples_is_refused(tmp_path: Path) -> None:
    # Given files of the right form with few images, when they are read, then the number gives them away
    write_idx(tmp_path, emnist_names("digits"), 120, 30, range(10))
    with pytest.raises(DataMissingError, match=r"has 30 labels: EMNIST's original has 40,000"):
        Emnist("digits").holdout_data(tmp_path)


def test_without_the_files_it_is_said_where_they_are_to_be_had_and_what_they_are_called(tmp_path: Path) -> None:
    # Given an empty folder, when EMNIST is read, then the message has the names, the folders and the archive
    with pytest.raises(DataMissingError) as caught:
        Emnist("letters").holdout_data(tmp_path)
    names = "emnist-letters-test-images-idx3-ubyte or emnist-letters-test-images-idx3-ubyte.gz"
    assert f"there is no {names} in {tmp_path} or its folder gzip. " in str(caught.value)
    assert f"gzip.zip -d {tmp_path}" in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((30, 28, 27), range(10), r"shape \(30, 28, 27\), and .* 30 labels: \(30, 28, 28\) is needed"),
        ((29, 28, 28), range(10), r"shape \(29, 28, 28\)"),
        ((30, 28, 28), range(11), "labels from 0 to 9 are needed"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(
    tmp_path: Path, shape: tuple[int, ...], labels: range, message: str
) -> None:
    # Given images of another size or number, or a label too many, when they are read, then that is said
    write_idx(tmp_path, emnist_names("digits"), 120, 30, labels)
    (tmp_path / "emnist-digits-test-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros(shape, np.uint8)))
    with pytest.raises(DataMissingError, match=message):
        TinyEmnist("digits").holdout_data(tmp_path)
