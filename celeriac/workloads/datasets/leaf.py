"""Data sets that LEAF's scripts make, in its JSON (Caldas et al. 2018, arXiv 1812.01097): FEMNIST and Shakespeare.

A folder has ``train/*.json`` and ``test/*.json``, each with ``user_data``, an object from each user's name to its ``x``
and ``y``. The users are the clients. A client tests on what LEAF holds out of its users, the orchestrator on all that
LEAF holds out. What there is depends on the options that LEAF's script was given, so no digest is known.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from celeriac.workloads.datasets.natural import SPLIT_SEED, Pair, deal, joined
from celeriac.workloads.datasets.originals import Originals, Parse
from celeriac.workloads.examples import Examples
from celeriac.workloads.image_workload import LabelledImages
from celeriac.workloads.nets.net import ImageShape
from celeriac.workloads.next_character import IGNORED, NUM_CHARACTERS, NextCharacter, Windows, encode
from celeriac.workloads.parameters import read_seed
from tasks.described import first_of
from tasks.errors import DataMissingError
from tasks.workload import ClientData, DataSource

X = TypeVar("X")
Y = TypeVar("Y")
IMAGE_SHAPE = (1, 28, 28)
NUM_CLASSES = 62
_Image = list[Annotated[float, Field(ge=0, le=1)]]
_Class = Annotated[int, Field(ge=0, lt=NUM_CLASSES)]


class _User(BaseModel, Generic[X, Y]):
    x: list[X]
    y: list[Y]


class _File(BaseModel, Generic[X, Y]):
    user_data: dict[str, _User[X, Y]]


def _parse(
    kind: type[_File[X, Y]], make: Callable[[_User[X, Y]], Pair], content: memoryview, path: Path
) -> dict[str, Pair]:
    """Read a file's users.

    Raises:
        DataMissingError: If it is no such file.
    """
    try:
        users = kind.model_validate_json(bytes(content)).user_data
        if uneven := [name for name, user in users.items() if len(user.x) != len(user.y)]:
            raise ValueError(f"user {uneven[0]!r} has another number of x than of y")
        return {name: make(user) for name, user in users.items()}
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]  # there may be one for each example
        told = f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()
        raise DataMissingError(f"{path} is no file of LEAF's: {told}") from error
    except ValueError as error:
        raise DataMissingError(f"{path} is no file of LEAF's: {error}") from error


def _images(user: _User[_Image, _Class]) -> Pair:
    """Return images, 0 being ink and 1 paper, and their classes, of which there are 62."""
    labels = np.array(user.y, np.int64)
    return np.array(user.x, np.float32).reshape(len(labels), *IMAGE_SHAPE[1:]), labels


def _texts(user: _User[str, str]) -> Pair:
    """Return 80 characters each, and targets of which the last alone counts: the character that follows."""
    if any(len(text) != NUM_CHARACTERS for text in user.x) or any(len(text) != 1 for text in user.y):
        raise ValueError(f"x of {NUM_CHARACTERS} characters and y of one are needed")
    targets = np.full((len(user.y), NUM_CHARACTERS), IGNORED, np.int16)
    targets[:, -1] = encode("".join(user.y))
    return encode("".join(user.x)).reshape(targets.shape), targets


@dataclass(frozen=True)
class _Leaf:
    """A folder that LEAF has made: what is looked for in it, and how a file of it is read."""

    originals: Originals
    parse: Parse[dict[str, Pair]]

    @classmethod
    def of(cls, name: str, options: str, parse: Parse[dict[str, Pair]]) -> _Leaf:
        """Return that of a data set of this name, which LEAF's script makes with these options."""
        how_to_get = (
            f"git clone https://github.com/TalwalkarLab/leaf && cd leaf/data/{name.lower()} && "
            f"./preprocess.sh {options}, then copy its folders data/train and data/test into {{folder}}"
        )
        return cls(Originals(f"LEAF's {name}", how_to_get, ("data",)), parse)

    def users(self, folder: Path | None, kind: str) -> dict[str, Pair]:
        """Return the users of all files in a folder, ``train`` or ``test``, in the order of the files' names.

        Raises:
            DataMissingError: If there are none, or two files have the same one, as files of two divisions have.
        """
        paths = self.originals.find_all(folder, f"{kind}/*.json")
        users: dict[str, Pair] = {}
        for path, found in zip(paths, self.originals.read_all(paths, self.parse), strict=True):
            if twice := users.keys() & found.keys():
                raise DataMissingError(
                    f"{path} has users that another file in {path.parent} has too: {first_of(sorted(twice))}; leave "
                    "the files of one run of LEAF's script there"
                )
            users |= found
        if not users:
            raise DataMissingError(f"{paths[0].parent} has files without a user: at least one is needed")
        return users

    def of_client(self, source: DataSource, seed: int) -> tuple[Pair, Pair | None]:
        """Return what a client trains on, and what it tests on, if LEAF holds out anything of its users."""
        train, test = self.users(source.folder, "train"), self.users(source.folder, "test")
        names = deal(list(train), source.part, seed)
        tested = [test[name] for name in names if name in test]
        return joined(train[name] for name in names), joined(tested) if tested else None

    def held_out(self, folder: Path | None) -> Pair:
        """Return what LEAF holds out of all users."""
        return joined(self.users(folder, "test").values())


class FemnistLeaf(LabelledImages):
    """FEMNIST: digits and letters, inputs ``(n, 28, 28)``, of which each client has those of some writers.

    Args:
        net: See :class:`celeriac.workloads.image_workload.LabelledImages`.
        split_seed: Seed by which writers are dealt to clients.

    Raises:
        ConfigurationError: If an argument is wrong, or the net doesn't take such images.
    """

    leaf: ClassVar[_Leaf] = _Leaf.of(
        "FEMNIST", "-s niid --sf 0.05 -k 0 -t sample", functools.partial(_parse, _File[_Image, _Class], _images)
    )
    image_shape: ClassVar[ImageShape] = IMAGE_SHAPE
    num_classes: int = NUM_CLASSES

    def __init__(self, net: str | None = None, split_seed: str | None = None) -> None:
        super().__init__(net)
        self._split_seed = read_seed(split_seed, SPLIT_SEED)

    def client_data(self, source: DataSource) -> ClientData:
        """Return the images of the client's writers."""
        train, test = self.leaf.of_client(source, self._split_seed)
        examples = Examples(*train)
        return ClientData(examples, test and Examples(*test), len(examples), examples.labels())

    def holdout_data(self, folder: Path | None) -> Examples:
        """Return what LEAF holds out of all writers."""
        return Examples(*self.leaf.held_out(folder))


class ShakespeareLeaf(NextCharacter):
    """Shakespeare: after 80 characters the next one, of which each client has those of some roles.

    Args:
        hidden: See :class:`celeriac.workloads.next_character.NextCharacter`.
        split_seed: Seed by which roles are dealt to clients.

    Raises:
        ConfigurationError: If an argument is wrong.
    """

    leaf: ClassVar[_Leaf] = _Leaf.of(
        "Shakespeare", "-s niid --sf 0.2 -k 0 -t sample -tf 0.8", functools.partial(_parse, _File[str, str], _texts)
    )

    def __init__(self, hidden: str = "128", split_seed: str | None = None) -> None:
        super().__init__(hidden)
        self._split_seed = read_seed(split_seed, SPLIT_SEED)

    def client_data(self, source: DataSource) -> ClientData:
        """Return the texts of the client's roles."""
        train, test = self.leaf.of_client(source, self._split_seed)
        return ClientData(Windows(*train), test and Windows(*test))

    def holdout_data(self, folder: Path | None) -> Windows:
        """Return what LEAF holds out of all roles."""
        return Windows(*self.leaf.held_out(folder))
