"""The files of a data set as its authors made them: found in a user's folder, checked by digest, or how to get them."""

from __future__ import annotations

import functools
import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from celeriac.workloads.datasets.idx import read_content
from tasks.errors import DataMissingError

T = TypeVar("T")
Parse = Callable[[memoryview, Path], T]
"""From a file's uncompressed content, and its path for messages, to what it holds; raises DataMissingError."""


@dataclass(frozen=True, eq=False)
class Originals:
    """Where a data set's files come from, and what they are.

    Attributes:
        title: What the data set is called.
        how_to_get: How its files are put into a folder, ``{folder}``, which is quoted for the shell.
        folders: Folders in the user's own where files are looked for too, as archives unpack to them.
        digests: ``ALGORITHM:HEX`` of each file's uncompressed content, by name; others aren't checked.
    """

    title: str
    how_to_get: str
    folders: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    def find(self, folder: Path | None, *names: str) -> Path:
        """Return the first file that there is of ``names``, each also gzipped; see :meth:`find_all`."""
        return self.find_all(folder, *names)[0]

    def find_all(self, folder: Path | None, *patterns: str) -> list[Path]:
        """Return the files that match the first of ``patterns`` which any does, each also gzipped, in order of names.

        Raises:
            DataMissingError: If there is no folder or no such file in it; it says how to get them.
        """
        if folder is None:
            raise DataMissingError(
                f"{self.title} needs a data folder, and none was given (--data, or CLIENT_DATA at a client). "
                f"{self._how_to_get(Path('data'))}"
            )
        looked_for = [each for pattern in patterns for each in (pattern, f"{pattern}.gz")]
        for place in ("", *self.folders):
            for pattern in looked_for:
                if found := sorted(path for path in (folder / place).glob(pattern) if path.is_file()):
                    return found
        places = f" or its folder {' or '.join(self.folders)}" if self.folders else ""
        raise DataMissingError(
            f"there is no {' or '.join(looked_for)} in {folder.resolve()}{places}. {self._how_to_get(folder)}"
        )

    def read(self, path: Path, parse: Parse[T]) -> T:
        """Return what ``parse`` makes of a file's content; see :meth:`read_all`."""
        return self.read_all([path], parse)[0]

    def read_all(self, paths: Sequence[Path], parse: Parse[T]) -> list[T]:
        """Return what ``parse`` makes of each file's content; a process does it once, until one of them changes.

        Raises:
            DataMissingError: If a file can't be read, or isn't the original.
        """
        try:
            versions = tuple((status.st_mtime_ns, status.st_size) for status in (path.stat() for path in paths))
        except OSError as error:
            raise DataMissingError(f"{error.filename} can't be read: {error}") from error
        made: list[T] = _read(self, tuple(path.absolute() for path in paths), parse, versions)
        return made

    def check(self, path: Path, content: memoryview) -> None:
        """Refuse a file whose digest is known, and is another.

        Raises:
            DataMissingError: If it is.
        """
        name = path.name.removesuffix(".gz")
        algorithm, _, original = self.digest_of(path).partition(":")
        if not original:
            return
        digest = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
        if digest != original:
            folder = path.parent.as_posix()
            for place in self.folders:
                folder = folder.removesuffix(f"/{place}")
            raise DataMissingError(
                f"{path} is not {self.title}'s original {name}: its content has {algorithm} {digest}, not {original}. "
                f"{self._how_to_get(Path(folder))}"
            )

    def digest_of(self, path: Path) -> str:
        """Return ``ALGORITHM:HEX`` of what such a file has to hold; empty if it isn't known."""
        return self.digests.get(path.name.removesuffix(".gz"), "")

    def _how_to_get(self, folder: Path) -> str:
        where = shlex.quote(str(folder))
        return f"To put its files into {where}: {self.how_to_get.replace('{folder}', where)}"


@functools.lru_cache(maxsize=8)
def _read(
    originals: Originals, paths: tuple[Path, ...], parse: Parse[T], _versions: tuple[tuple[int, int], ...]
) -> list[T]:
    return [_read_one(originals, path, parse) for path in paths]


def _read_one(originals: Originals, path: Path, parse: Parse[T]) -> T:
    is_checked = originals.digest_of(path) != ""
    content = read_content(path, copied=is_checked)  # what is used is what was checked, and no map that may change
    originals.check(path, content)
    return parse(content, path)
