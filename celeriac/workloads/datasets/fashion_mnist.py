"""FashionMNIST: 70,000 pictures of clothes of 28x28 pixels, in the files of MNIST (Xiao et al. 2017, arXiv 1708.07747).

Classes: T-shirt/top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot.
"""

from __future__ import annotations

from typing import ClassVar

from celeriac.workloads.datasets.idx_images import IdxImages
from celeriac.workloads.datasets.originals import Originals


class FashionMnist(IdxImages):
    """FashionMNIST: 60,000 images to train on and 10,000 to test on."""

    originals: ClassVar[Originals] = Originals(
        title="FashionMNIST",
        how_to_get=(
            "on Debian or Ubuntu: apt-get download dataset-fashion-mnist && "
            "dpkg -x dataset-fashion-mnist_*.deb {folder}; or the four files of "
            "https://github.com/zalandoresearch/fashion-mnist/tree/master/data/fashion"
        ),
        folders=("usr/share/datasets/fashion-mnist",),
        digests={
            "train-images-idx3-ubyte": "sha256:c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "sha256:bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "sha256:5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "sha256:0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    )
