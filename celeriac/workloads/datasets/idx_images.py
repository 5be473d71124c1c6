"""Base of MNIST and the data sets that are made like it: grey images of 28x28 pixels and their labels, in IDX files."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from celeriac.workloads.datasets.idx import parse
from celeriac.workloads.datasets.originals import Originals
from celeriac.workloads.examples import Examples, Indices
from celeriac.workloads.image_workload import ImageWorkload
from celeriac.workloads.nets.net import ImageShape
from celeriac.workloads.splits import Labels
from tasks.arrays import Array
from tasks.errors import DataMissingError

MAX_PIXEL = 255
SPLIT_SEED = 60_000
"""Default of ``split-seed``, the seed of the clients' parts."""


class IdxFiles(NamedTuple):
    """Names of a data set's two pairs of files, without ``.gz``."""

    train_images: str = "train-images-idx3-ubyte"
    train_labels: str = "train-labels-idx1-ubyte"
    test_images: str = "t10k-images-idx3-ubyte"
    test_labels: str = "t10k-labels-idx1-ubyte"


class IdxImages(ImageWorkload):
    """Inputs ``(n, 28, 28)``, pixels from 0 to 1; by default the 2NN of McMahan et al. and iid parts.

    Clients share the training images, of which each holds out 10 % of its part. The test images are the orchestrator's.
    """

    originals: ClassVar[Originals]
    files: IdxFiles = IdxFiles()
    first_label: int = 0
    """What the first class is called in the files."""
    transposed: ClassVar[bool] = False
    """Whether images lie in the files with rows and columns exchanged."""

    image_shape: ClassVar[ImageShape] = (1, 28, 28)
    num_classes: int = 10
    default_net: ClassVar[str] = "2nn"
    default_split_seed: ClassVar[int] = SPLIT_SEED

    def shared_labels(self, folder: Path | None) -> Labels:
        """Return the classes of the training images in ``folder``."""
        return self._labels(folder, self.files.train_labels)

    def shared_examples(self, folder: Path | None, rows: Indices) -> Examples:
        """Return the training images at ``rows`` of :meth:`shared_labels`, from ``folder``."""
        return self._examples(folder, self.files.train_images, self.files.train_labels, rows)

    def holdout_data(self, folder: Path | None) -> Examples:
        """Return the test images in ``folder``."""
        return self._examples(folder, self.files.test_images, self.files.test_labels, slice(None))

    def _examples(self, folder: Path | None, images: str, labels: str, rows: Indices | slice) -> Examples:
        pixels, classes = self._read(folder, images), self._labels(folder, labels)
        if pixels.shape != (len(classes), *self.image_shape[1:]):
            raise DataMissingError(
                f"{images} in {folder} has shape {pixels.shape}, and {labels} {len(classes):,} labels: "
                f"{(len(classes), *self.image_shape[1:])} is needed"
            )
        inputs = pixels[rows].astype(np.float32)
        inputs /= MAX_PIXEL
        return Examples(np.ascontiguousarray(inputs.swapaxes(1, 2)) if self.transposed else inputs, classes[rows])

    def _labels(self, folder: Path | None, name: str) -> Labels:
        classes = self._read(folder, name).astype(np.int64) - self.first_label
        if classes.ndim != 1 or not len(classes) or classes.min() < 0 or classes.max() >= self.num_classes:
            last = self.first_label + self.num_classes - 1
            raise DataMissingError(f"{name} in {folder}: labels from {self.first_label} to {last} are needed")
        return classes

    def _read(self, folder: Path | None, name: str) -> Array:
        return self.originals.read(self.originals.find(folder, name), parse)
