"""The formats of data sets, with few examples: image i has pixel value i everywhere, but for its corner."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.arrays import Array

Bytes = npt.NDArray[np.uint8]


def idx_bytes(array: Array) -> bytes:
    header = bytes([0, 0, 0x08, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.tobytes()


def write_idx(folder: Path, names: tuple[str, ...], num_train: int, num_test: int, classes: range) -> Path:
    """Two pairs of files; the corner that is marked with 255 is at the top right, row 0 and column 27."""
    folder.mkdir(parents=True, exist_ok=True)
    for (images, labels), count in zip((names[:2], names[2:]), (num_train, num_test), strict=True):
        numbers = np.arange(count)
        pixels = np.broadcast_to(numbers[:, None, None].astype(np.uint8), (count, 28, 28)).copy()
        pixels[:, 0, 27] = 255
        (folder / images).write_bytes(idx_bytes(pixels))
        (folder / labels).write_bytes(idx_bytes((classes.start + numbers % len(classes)).astype(np.uint8)))
    return folder


def cifar_batch(first: int, count: int, num_classes: tuple[int, ...]) -> tuple[Bytes, Bytes]:
    """Labels, a column each kind, and images in rows: pixels are the image's number plus 90 a channel."""
    numbers = np.arange(first, first + count)
    labels = np.stack([numbers % classes for classes in num_classes], axis=1).astype(np.uint8)
    channels = numbers[:, None, None] + 90 * np.arange(3)[None, :, None]
    return labels, np.broadcast_to(channels, (count, 3, 1024)).reshape(count, 3072).astype(np.uint8)


def cifar_binary(labels: Bytes, images: Bytes) -> bytes:
    return np.concatenate([labels, images], axis=1).tobytes()


def cifar_python(labels: Bytes, images: Bytes, names: tuple[str, ...], *, by_columns: bool = False) -> bytes:
    """A batch as Python 2 pickled it (protocol 2): a dict with lists of numbers, and an array of an old NumPy."""

    def text(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode()

    parts = [b"\x80\x02}q\x01(", text("batch_label"), b"q\x02", text("training batch 1 of 5"), b"q\x03"]
    for index, name in enumerate(names):
        numbers = b"".join(b"K" + bytes([number]) for number in labels[:, index].tolist())
        parts += [text(name), b"]q\x04(", numbers, b"e"]
    parts += [text("data"), b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85q\x07"]
    parts += [
        text("b"),
        b"\x87q\x08Rq\x09(K\x01M",
        struct.pack("<H", len(images)),
        b"M\x00\x0c\x86q\x0acnumpy\ndtype\n",
    ]
    parts += [text("u1"), b"K\x00K\x01\x87Rq\x0b(K\x03", text("|"), b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"]
    content = images.tobytes(order="F" if by_columns else "C")
    parts += [b"\x88" if by_columns else b"\x89", b"T", struct.pack("<i", len(content)), content, b"tb"]
    parts += [text("filenames"), b"](", text("a.png"), text("b.png"), b"eu."]
    return b"".join(parts)


def leaf_json(users: dict[str, tuple[list[Any], list[Any]]]) -> str:
    """A file as LEAF writes it."""
    return json.dumps(
        {
            "users": list(users),
            "num_samples": [len(y) for _, y in users.values()],
            "user_data": {name: {"x": x, "y": y} for name, (x, y) in users.items()},
        }
    )


def write_leaf(folder: Path, kind: str, files: dict[str, dict[str, tuple[list[Any], list[Any]]]]) -> Path:
    (folder / kind).mkdir(parents=True)
    for name, users in files.items():
        (folder / kind / name).write_text(leaf_json(users))
    return folder


def write_femnist_leaf(folder: Path) -> Path:
    """Four writers in two files: writer i has i + 2 images to train on, and one to test on, all of class i."""

    def user(writer: int, count: int) -> tuple[list[Any], list[Any]]:
        return [[writer / 100] * 784] * count, [writer] * count

    for kind, more in (("train", 2), ("test", None)):
        counts = [1 if more is None else writer + more for writer in range(4)]
        users = {f"f{writer:04}_{writer}": user(writer, counts[writer]) for writer in range(4)}
        names = list(users)
        files = {
            "a.json": {name: users[name] for name in names[:2]},
            "b.json": {name: users[name] for name in names[2:]},
        }
        write_leaf(folder, kind, files)
    return folder


def write_shakespeare_leaf(folder: Path) -> Path:
    """Two roles with three texts to train on, and one to test on."""
    for kind, count in (("train", 3), ("test", 1)):
        users = {role: (["to be " * 13 + "or"] * count, list("abc")[:count]) for role in ("HAMLET", "MACBETH")}
        write_leaf(folder, kind, {"all_data_niid_2_keep_0.json": users})
    return folder
