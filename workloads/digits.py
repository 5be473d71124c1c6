"""Handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels in ten classes.

They need no download, so they are what a first run trains on. The data set is the test part of UCI's "Optical
Recognition of Handwritten Digits" (https://archive.ics.uci.edu/dataset/80).
"""

from __future__ import annotations

import importlib.util
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from tasks.errors import DataMissingError
from tasks.workload import ClientData, DataSource
from workloads.examples import Examples
from workloads.splits import client_split, hold_out
from workloads.torch_workload import TorchWorkload

NUM_DIGITS = 1_797
NUM_PIXELS = 64
NUM_CLASSES = 10
NUM_HIDDEN = 128
MIDDLE_PIXEL = 8
PIXEL_SCALE = 4
"""Pixels, 0 to 16 in the file, become -2 to 2: plain SGD then needs a third of the rounds that 0 to 1 would take."""
HOLDOUT_SHARE = 0.2
SPLIT_SEED = 1_797
"""Not the run's seed: whoever takes part, in whichever run, has to agree on who has which digits."""


class Digits(TorchWorkload):
    """A perceptron with one hidden layer of 128 on scikit-learn's digits, shared out iid among the clients.

    The orchestrator holds out 20 % of the digits, each client 10 % of its own.
    """

    def build_model(self) -> nn.Module:
        """Return the model: inputs ``(n, 64)``, logits ``(n, 10)``, 9,610 parameters."""
        return nn.Sequential(nn.Linear(NUM_PIXELS, NUM_HIDDEN), nn.ReLU(), nn.Linear(NUM_HIDDEN, NUM_CLASSES))

    def client_data(self, source: DataSource) -> ClientData:
        """Return the client's part of the digits that the orchestrator doesn't hold out; no folder is needed.

        Raises:
            DataMissingError: If scikit-learn or its digits aren't installed.
            ConfigurationError: If there are more parts than digits.
        """
        shared, _ = self._shared_and_held_out
        train_rows, test_rows = client_split(len(shared), source.part, SPLIT_SEED)
        train = self._digits.subset(shared[train_rows])
        return ClientData(train, self._digits.subset(shared[test_rows]), len(train), train.labels())

    def holdout_data(self, folder: Path | None) -> Examples:
        """Return the 359 digits that no client has; no folder is needed.

        Raises:
            DataMissingError: If scikit-learn or its digits aren't installed.
        """
        _, held_out = self._shared_and_held_out
        return self._digits.subset(held_out)

    @cached_property
    def _digits(self) -> Examples:
        return read_digits()

    @cached_property
    def _shared_and_held_out(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return hold_out(np.arange(NUM_DIGITS, dtype=np.int64), HOLDOUT_SHARE, SPLIT_SEED)


def read_digits() -> Examples:
    """Read all digits, pixels from -2 to 2, in scikit-learn's order.

    The file is read where scikit-learn keeps it: importing ``sklearn.datasets`` takes a second, this a hundredth.

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
