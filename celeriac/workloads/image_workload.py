"""Bases of workloads for labelled images, with a net by name: split among the clients, or with clients of their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import nn

from celeriac.workloads.examples import Examples, Indices
from celeriac.workloads.nets.net import ImageShape, load_net
from celeriac.workloads.parameters import read_seed, read_share
from celeriac.workloads.splits import CLIENT_TEST_SHARE, Labels, client_split, load_split
from celeriac.workloads.torch_workload import TorchWorkload
from tasks.context import Context
from tasks.run_config import RunSetting
from tasks.workload import ClientData, DataSource


class LabelledImages(TorchWorkload):
    """Trains a net by name on :class:`celeriac.workloads.examples.Examples`; a subclass says what clients have.

    Args:
        net: The net: a name in :data:`celeriac.workloads.nets.NETS` or ``module:function``; None: the default.

    Raises:
        ConfigurationError: If the net doesn't take images of this size.
    """

    image_shape: ClassVar[ImageShape]
    """Channels, height and width."""
    num_classes: int
    """Number of classes, which are counted from 0. It may depend on a parameter: set it before ``super().__init__``."""
    default_net: ClassVar[str] = "cnn"
    run_config: ClassVar[Mapping[str, RunSetting] | None] = {}

    def __init__(self, net: str | None = None) -> None:
        self._net = load_net(net or self.default_net, self.image_shape, self.num_classes)

    def build_model(self, context: Context) -> nn.Module:
        """Return a new model, from images to logits ``(n, num_classes)``."""
        return self._net(self.image_shape, self.num_classes)

    def columns(self, data: ClientData) -> dict[str, np.ndarray]:
        """Return of each image, to train and to test on, its ``label``, a name, and the mean of its pixels."""
        parts: list[Examples] = [part for part in (data.train, data.test) if part is not None]
        pixels = tuple(range(1, parts[0].inputs.ndim))
        return {
            "label": np.concatenate([part.targets for part in parts]).astype(str),
            "mean_pixel": np.concatenate([part.inputs.mean(axis=pixels, dtype=np.float64) for part in parts]),
        }


class ImageWorkload(LabelledImages):
    """Trains a net on a client's part of a data set; a subclass provides the data set.

    Whatever reads the data set raises DataMissingError if it is missing or isn't the original.

    Args:
        net: The net: a name in :data:`celeriac.workloads.nets.NETS` or ``module:function``; None: the default.
        split: The split: ``NAME[:PARAMETER]`` of :data:`celeriac.workloads.splits.SPLITS` or
            ``module:name[:PARAMETER]``.
        split_seed: Seed of the split, a whole number from 0; None: the workload's own, a constant. It isn't the run's
            seed, so all participants of all runs agree on the parts.
        test_share: Share of its part that each client tests on instead of training, from 0 to under 1.

    Raises:
        ConfigurationError: If an argument is wrong, or the net doesn't take images of this size.
    """

    default_split_seed: ClassVar[int] = 0

    def __init__(
        self,
        net: str | None = None,
        split: str = "iid",
        split_seed: str | None = None,
        test_share: str = str(CLIENT_TEST_SHARE),
    ) -> None:
        super().__init__(net)
        load_split(split)
        self._split = split
        self._split_seed = read_seed(split_seed, self.default_split_seed)
        self._test_share = read_share(test_share)

    @abstractmethod
    def shared_labels(self, folder: Path | None) -> Labels:
        """Return the class of every example to split among clients, int64, shape ``(n,)``."""

    @abstractmethod
    def shared_examples(self, folder: Path | None, rows: Indices) -> Examples:
        """Return the examples at ``rows`` of :meth:`shared_labels`."""

    def client_data(self, source: DataSource) -> ClientData:
        """Return the client's part of the split, and a share of the part to test on.

        Raises:
            ConfigurationError: If there are too few examples for the split.
        """
        labels = self.shared_labels(source.folder)
        train_rows, test_rows = client_split(labels, source.part, self._split_seed, self._split, self._test_share)
        train = self.shared_examples(source.folder, train_rows)
        return ClientData(train, self.shared_examples(source.folder, test_rows), len(train), train.labels())
