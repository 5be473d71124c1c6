"""CIFAR-10 and CIFAR-100: 60,000 colour photographs of 32x32 pixels each (Krizhevsky 2009, chapter 3).

Both formats of https://www.cs.toronto.edu/~kriz/cifar.html are read. In the binary one an image is a record: its label
(CIFAR-100: the coarse one, then the fine one), then 1,024 bytes each of red, green and blue. The python one is a
pickle. It isn't unpickled: labels and pixels are picked out of the list of its instructions, and none is carried out.
"""

from __future__ import annotations

import functools
import io
import pickletools
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from celeriac.workloads.datasets.originals import Originals, Parse
from celeriac.workloads.examples import Examples, Indices
from celeriac.workloads.image_workload import ImageWorkload
from celeriac.workloads.nets.net import ImageShape
from celeriac.workloads.splits import CLIENT_TEST_SHARE, Labels
from tasks.errors import ConfigurationError, DataMissingError

IMAGE_SHAPE = (3, 32, 32)
IMAGE_BYTES = 3_072
MAX_PIXEL = 255


class Batch(NamedTuple):
    """What a file holds: labels, uint8, shape ``(n, kinds of labels)``, and images, uint8, ``(n, 3, 32, 32)``."""

    labels: npt.NDArray[np.uint8]
    images: npt.NDArray[np.uint8]


def parse_binary(num_labels: int, content: memoryview, path: Path) -> Batch:
    """Read a file of the binary format with ``num_labels`` labels an image.

    Raises:
        DataMissingError: If it isn't records of that size.
    """
    size = num_labels + IMAGE_BYTES
    if not len(content) or len(content) % size:
        raise DataMissingError(f"{path} has {len(content):,} bytes: a multiple of {size:,}, an image each, is needed")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    return Batch(records[:, :num_labels], records[:, num_labels:].reshape(-1, *IMAGE_SHAPE))


def parse_python(names: Sequence[str], content: memoryview, path: Path) -> Batch:
    """Read a file of the python format: a pickled dict with a list a name in ``names``, and an array ``data``.

    The numbers that follow a name are its list, the one long text is the array's bytes, and the truth value before it
    says whether the array is stored by columns.

    Raises:
        DataMissingError: If it is no such pickle.
    """
    numbers: dict[str, list[int]] = {}
    last_text, pixels, by_columns = "", b"", False
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(content)):
            if opcode.name in ("NEWTRUE", "NEWFALSE"):
                by_columns = by_columns if pixels else opcode.name == "NEWTRUE"
            elif isinstance(argument, int) and opcode.name == "BININT1":
                numbers.setdefault(last_text, []).append(argument)
            elif isinstance(argument, str) and len(argument) >= IMAGE_BYTES:
                pixels = argument.encode("latin-1")
            elif isinstance(argument, str):
                last_text = argument
    except ValueError as error:
        raise DataMissingError(f"{path} is no pickle of CIFAR's: {error}") from error
    lists = [numbers.get(name, []) for name in names]
    if not pixels or any(len(each) * IMAGE_BYTES != len(pixels) for each in lists):
        counts = ", ".join(f"{len(each):,} {name}" for name, each in zip(names, lists, strict=True))
        raise DataMissingError(
            f"{path} has {counts} and {len(pixels):,} bytes of pixels: {IMAGE_BYTES:,} for each label are needed"
        )
    flat = np.frombuffer(pixels, np.uint8).reshape((len(lists[0]), IMAGE_BYTES), order="F" if by_columns else "C")
    return Batch(np.array(lists, np.uint8).T, np.ascontiguousarray(flat).reshape(-1, *IMAGE_SHAPE))


class _Cifar(ImageWorkload):
    """Inputs ``(n, 3, 32, 32)``, pixels from 0 to 1; by default McMahan et al.'s CNN and iid parts.

    Clients share the training images, of which each holds out 10 % of its part. The test images are the orchestrator's.
    """

    originals: ClassVar[Originals]
    train_files: ClassVar[tuple[str, ...]]
    """Names in the python format; those in the binary one end in ``.bin``."""
    test_file: ClassVar[str]
    formats: ClassVar[tuple[Parse[Batch], Parse[Batch]]]
    """How a file of the binary format is read, and one of the python format."""
    label_column: int = 0

    image_shape: ClassVar[ImageShape] = IMAGE_SHAPE
    default_split_seed: ClassVar[int] = 50_000

    def shared_labels(self, folder: Path | None) -> Labels:
        """Return the classes of the training images in ``folder``."""
        return np.concatenate([self._labels(batch) for batch in self._files(folder, *self.train_files)])

    def shared_examples(self, folder: Path | None, rows: Indices) -> Examples:
        """Return the training images at ``rows`` of :meth:`shared_labels`, from ``folder``."""
        inputs, start = np.empty((len(rows), *IMAGE_SHAPE), np.float32), 0
        for _, images in self._files(folder, *self.train_files):
            here = (rows >= start) & (rows < start + len(images))
            inputs[here] = images[rows[here] - start]
            start += len(images)
        inputs /= MAX_PIXEL
        return Examples(inputs, self.shared_labels(folder)[rows])

    def holdout_data(self, folder: Path | None) -> Examples:
        """Return the test images in ``folder``."""
        (batch,) = self._files(folder, self.test_file)
        return Examples(batch.images.astype(np.float32) / np.float32(MAX_PIXEL), self._labels(batch))

    def _labels(self, batch: Batch) -> Labels:
        labels = batch.labels[:, self.label_column].astype(np.int64)
        if labels.max() >= self.num_classes:
            raise DataMissingError(
                f"{self.originals.title} has label {labels.max()}: 0 to {self.num_classes - 1} are allowed"
            )
        return labels

    def _files(self, folder: Path | None, *names: str) -> list[Batch]:
        paths = [self.originals.find(folder, f"{name}.bin", name) for name in names]
        is_binary = paths[0].name.removesuffix(".gz").endswith(".bin")
        return self.originals.read_all(paths, self.formats[0 if is_binary else 1])


class Cifar10(_Cifar):
    """CIFAR-10: 50,000 images to train on and 10,000 to test on, of ten classes."""

    originals: ClassVar[Originals] = Originals(
        title="CIFAR-10",
        how_to_get=(
            "unpack https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz there (170 MB, MD5 "
            "c32a1d4ab5d03f1284b67883e8d87530), or cifar-10-python.tar.gz: tar -xzf cifar-10-binary.tar.gz -C {folder}"
        ),
        folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
        digests={
            "data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
            "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
            "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "md5:40351d587109b95175f43aff81a1287e",
        },
    )
    train_files: ClassVar[tuple[str, ...]] = tuple(f"data_batch_{number}" for number in range(1, 6))
    test_file: ClassVar[str] = "test_batch"
    formats: ClassVar[tuple[Parse[Batch], Parse[Batch]]] = (
        functools.partial(parse_binary, 1),
        functools.partial(parse_python, ("labels",)),
    )
    num_classes: int = 10


class Cifar100(_Cifar):
    """CIFAR-100: 50,000 images to train on and 10,000 to test on, of 100 classes in 20 groups.

    Args:
        labels: ``fine``, the classes, or ``coarse``, their groups.
        net: See :class:`celeriac.workloads.image_workload.ImageWorkload`, also for the rest.
        split: Who gets what.
        split_seed: The split's seed.
        test_share: What each client tests on.

    Raises:
        ConfigurationError: If an argument is wrong, or the net doesn't take such images.
    """

    originals: ClassVar[Originals] = Originals(
        title="CIFAR-100",
        how_to_get=(
            "unpack https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz there (169 MB, MD5 "
            "03b5dce01913d631647c71ecec9e9cb8), or cifar-100-python.tar.gz: "
            "tar -xzf cifar-100-binary.tar.gz -C {folder}"
        ),
        folders=("cifar-100-binary", "cifar-100-python"),
        digests={
            "train": "md5:16019d7e3df5f24257cddd939b257f8d",
            "test": "md5:f0ef6b0ae62326f3e7ffdfab6717acfc",
        },
    )
    train_files: ClassVar[tuple[str, ...]] = ("train",)
    test_file: ClassVar[str] = "test"
    formats: ClassVar[tuple[Parse[Batch], Parse[Batch]]] = (
        functools.partial(parse_binary, 2),
        functools.partial(parse_python, ("coarse_labels", "fine_labels")),
    )

    def __init__(
        self,
        labels: str = "fine",
        net: str | None = None,
        split: str = "iid",
        split_seed: str | None = None,
        test_share: str = str(CLIENT_TEST_SHARE),
    ) -> None:
        if labels not in ("fine", "coarse"):
            raise ConfigurationError(f"labels={labels}: fine or coarse is allowed")
        self.label_column = int(labels == "fine")
        self.num_classes = 100 if labels == "fine" else 20
        super().__init__(net, split, split_seed, test_share)
