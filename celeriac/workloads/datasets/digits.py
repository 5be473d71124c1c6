"""Handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels in ten classes.

A first run trains on them because they need no download. The data set is the test part of UCI's "Optical Recognition of
Handwritten Digits" (https://archive.ics.uci.edu/dataset/80).
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import ClassVar

import numpy as np

from celeriac.workloads.examples import Examples, Indices
from celeriac.workloads.image_workload import ImageWorkload
from celeriac.workloads.nets.net import ImageShape
from celeriac.workloads.splits import Labels, hold_out
from tasks.errors import DataMissingError

NUM_CLASSES = 10
NUM_DIGITS = 1_797
NUM_PIXELS = 64
MIDDLE_PIXEL = 8
PIXEL_SCALE = 4
"""Pixels, 0 to 16 in the file, become -2 to 2: with 0 to 1, plain SGD would need three times as many rounds."""
HOLDOUT_SHARE = 0.2
SPLIT_SEED = 1_797
"""Seed of the orchestrator's held-out examples, and by default (``split-seed``) of the clients' parts."""


class Digits(ImageWorkload):
    """scikit-learn's digits, inputs ``(n, 64)``; by default a perceptron with a hidden layer of 128 and iid parts.

    The orchestrator holds out 20 % of the digits, the same for every split; each client holds out 10 % of its part.
    """

    image_shape: ClassVar[ImageShape] = (1, 8, 8)
    num_classes: int = NUM_CLASSES
    default_net: ClassVar[str] = "mlp"
    default_split_seed: ClassVar[int] = SPLIT_SEED

    def shared_labels(self, folder: Path | None) -> Labels:
        """Return the classes of the 1,438 digits that the orchestrator doesn't hold out; no folder is needed."""
        return _shared_and_held_out()[0].targets

    def shared_examples(self, folder: Path | None, rows: Indices) -> Examples:
        """Return the digits at ``rows`` of :meth:`shared_labels`."""
        return _shared_and_held_out()[0].subset(rows)

    def holdout_data(self, folder: Path | None) -> Examples:
        """Return the 359 digits that no client has; no folder is needed."""
        return _shared_and_held_out()[1]


@functools.cache
def _shared_and_held_out() -> tuple[Examples, Examples]:
    digits = read_digits()
    shared, held_out = hold_out(np.arange(NUM_DIGITS, dtype=np.int64), HOLDOUT_SHARE, SPLIT_SEED)
    return digits.subset(shared), digits.subset(held_out)


def read_digits() -> Examples:
    """Read all digits, pixels from -2 to 2, in scikit-learn's order.

    It reads scikit-learn's file directly: that takes 10 ms, importing ``sklearn.datasets`` a second.

    Raises:
        DataMissingError: If the file isn't there or isn't what it should be.
    """
    path = _packaged_file()
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise DataMissingError(f"reading scikit-learn's digits from {path} failed: {error}") from error
    if table.shape != (NUM_DIGITS, NUM_PIXELS + 1):
        raise DataMissingError(f"{path} has shape {table.shape}, not ({NUM_DIGITS}, {NUM_PIXELS + 1})")
    inputs = table[:, :-1].astype(np.float32)
    inputs -= MIDDLE_PIXEL
    inputs /= PIXEL_SCALE
    return Examples(inputs, table[:, -1].astype(np.int64))


def _packaged_file() -> Path:
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataMissingError("the digits come with scikit-learn, which isn't installed: pip install scikit-learn")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
