"""EMNIST: 814,255 handwritten letters and digits of 28x28 pixels (Cohen et al. 2017, arXiv 1702.05373), table II.

The files have images with rows and columns exchanged, and in ``letters`` the labels begin with 1. Their digests aren't
published, so the numbers of examples are checked instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from celeriac.workloads.datasets.idx_images import IdxFiles, IdxImages
from celeriac.workloads.datasets.originals import Originals
from celeriac.workloads.splits import CLIENT_TEST_SHARE, Labels
from tasks.errors import ConfigurationError, DataMissingError

CLASSES = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10}
"""The data sets that it comes as, and the number of classes of each."""


class Emnist(IdxImages):
    """One of the six data sets of EMNIST.

    Args:
        variant: Which: a name in :data:`CLASSES`.
        net: See :class:`celeriac.workloads.image_workload.ImageWorkload`, also for the rest.
        split: Who gets what.
        split_seed: The split's seed.
        test_share: What each client tests on.

    Raises:
        ConfigurationError: If an argument is wrong, or the net doesn't take such images.
    """

    originals: ClassVar[Originals] = Originals(
        title="EMNIST",
        how_to_get=(
            "unpack https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip there (562 MB, MD5 "
            "58c8d27c78d21e728a6bc7b3cc06412e): unzip gzip.zip -d {folder}"
        ),
        folders=("gzip",),
    )
    transposed: ClassVar[bool] = True
    num_examples: ClassVar[dict[str, tuple[int, int]]] = {
        "byclass": (697_932, 116_323),
        "bymerge": (697_932, 116_323),
        "balanced": (112_800, 18_800),
        "letters": (124_800, 20_800),
        "digits": (240_000, 40_000),
        "mnist": (60_000, 10_000),
    }
    """Examples to train on and to test on."""

    def __init__(
        self,
        variant: str = "balanced",
        net: str | None = None,
        split: str = "iid",
        split_seed: str | None = None,
        test_share: str = str(CLIENT_TEST_SHARE),
    ) -> None:
        if variant not in CLASSES:
            raise ConfigurationError(f"variant={variant}: one of {', '.join(CLASSES)} is allowed")
        self._variant = variant
        self.num_classes = CLASSES[variant]
        self.first_label = 1 if variant == "letters" else 0
        self.files = IdxFiles(
            *(f"emnist-{variant}-{part}-ubyte" for part in ("train-images-idx3", "train-labels-idx1")),
            *(f"emnist-{variant}-{part}-ubyte" for part in ("test-images-idx3", "test-labels-idx1")),
        )
        super().__init__(net, split, split_seed, test_share)

    def _labels(self, folder: Path | None, name: str) -> Labels:
        classes = super()._labels(folder, name)
        needed = self.num_examples[self._variant][name == self.files.test_labels]
        if len(classes) != needed:
            raise DataMissingError(f"{name} in {folder} has {len(classes):,} labels: EMNIST's original has {needed:,}")
        return classes
