"""A table's rows as they are in a file, each cell a text; errors name file, row, column and value."""

from __future__ import annotations

import csv
import functools
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from celeriac.workloads.examples import Indices
from tasks.errors import DataMissingError
from tasks.files import is_folder
from tasks.plugins import near_name
from tasks.readable import readable

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none"})
"""Cells that are missing values, in lower case and without blanks around."""
SUFFIXES = (".csv", ".parquet")
MAX_NAME = 100
"""Characters of a column's name or of a category, as many as statistics tell."""
MAX_CELLS = 100_000_000
"""Cells that a parquet file may have, each a text of fifty bytes or more when it is read."""
_SEPARATORS = ",;\t"
Cells = npt.NDArray[np.object_]
"""A column's cells, texts without blanks around, None where missing; shape ``(n,)``."""


class CellError(DataMissingError):
    """Raised when a cell holds what it may not.

    Attributes:
        told: The message without row and value, for others than whose table it is.
    """

    def __init__(self, message: str, told: str) -> None:
        super().__init__(message)
        self.told = told


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some of a file's rows.

    Attributes:
        path: The file.
        numbers: Each row's number in the file, int64, shape ``(n,)``; as in a spreadsheet, the header is row 1.
        columns: The columns' cells by name.
        numeric: Columns that hold numbers, as far as somebody has looked.
    """

    path: Path
    numbers: Indices
    columns: Mapping[str, Cells]
    numeric: frozenset[str] = frozenset()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.numbers)

    def take(self, indices: Indices) -> Rows:
        """Return the rows at ``indices``, counted from 0, in their order."""
        columns = {name: cells[indices] for name, cells in self.columns.items()}
        return Rows(self.path, self.numbers[indices], columns, self.numeric)

    def column(self, name: str) -> Cells:
        """Return a column's cells.

        Raises:
            DataMissingError: If there is no such column.
        """
        if name not in self.columns:
            raise DataMissingError(f"{self.path} has no column {name!r}: {near_name(name, self.columns)}")
        return self.columns[name]

    def wrong(self, index: int, name: str, why: str) -> CellError:
        """Return an error that names a cell.

        Args:
            index: The row, counted from 0.
            name: The column.
            why: What is wrong with its value, and what is allowed; it follows the value.
        """
        cell = self.columns[name][index]
        shown = "nothing" if cell is None else repr(cell[:MAX_NAME])
        return CellError(
            f"{self.path}, row {self.numbers[index]}, column {name!r}: {shown} {why}",
            f"{self.path}, column {name!r}: a value {why}",
        )


def tables_in(folder: Path) -> list[Path]:
    """Return a folder's tables, sorted by name; none if there is no such folder."""
    if not is_folder(folder):
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def read_rows(path: Path) -> Rows:
    """Read a CSV file (UTF-8; commas, semicolons or tabs between cells) or a parquet file; a process does so once.

    Raises:
        DataMissingError: If it can't be read, is empty, or isn't a table with a name for each column.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataMissingError(f"{path} can't be read: {error}") from None
    return _read(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=1)
def _read(path: Path, _modified_ns: int, _size_bytes: int) -> Rows:
    try:
        header, numbers, rows = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    except OSError as error:
        raise DataMissingError(f"{path} can't be read: {error}") from None
    names = _names(path, header)
    if not rows:
        raise DataMissingError(f"{path} has a header and no rows: at least one is needed")
    cells = np.array([[_cell(cell) for cell in row] for row in rows], dtype=object)
    return Rows(path, np.array(numbers, np.int64), dict(zip(names, cells.T, strict=True)))


def _cell(cell: str | None) -> str | None:
    text = "" if cell is None else cell.strip()
    return None if text.lower() in MISSING else text


def _names(path: Path, header: Sequence[str]) -> list[str]:
    """Return the columns' names as statistics tell them.

    Raises:
        DataMissingError: If one is empty, or there twice.
    """
    names = [str(readable(" ".join(name.split())))[:MAX_NAME].rstrip() for name in header]
    if not names:
        raise DataMissingError(f"{path} has no columns")
    if not all(names):
        raise DataMissingError(
            f"{path}: column {names.index('') + 1} has no name in row 1: name it, or leave it out (pandas writes its "
            "index like this: to_csv(index=False))"
        )
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise DataMissingError(f"{path} has {count} columns with the name {name!r}: each needs one of its own")
    return names


def _csv(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    """Return the header, and the rows with their numbers."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataMissingError(f"{path}, line {line}: byte {error.object[error.start]:#x} isn't UTF-8") from None
    if not text.strip():
        raise DataMissingError(f"{path} is empty: a header and rows are needed")
    first = text.lstrip().partition("\n")[0]
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        numbered = [(number, row) for number, row in enumerate(reader, start=1) if row]
    except csv.Error as error:
        raise DataMissingError(f"{path}, line {reader.line_num}: {error}") from None
    (_, header), *rest = numbered
    for number, row in rest:
        if len(row) != len(header):
            raise DataMissingError(f"{path}, row {number} has {len(row)} cells: the header has {len(header)} names")
    return header, [number for number, _ in rest], [row for _, row in rest]


def _parquet(path: Path) -> tuple[list[str], Iterable[int], list[tuple[str | None, ...]]]:
    """Return the header, and the rows as texts, with numbers as a CSV file of them would have."""
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415  # an extra
    except ImportError:
        raise DataMissingError(
            f"{path}: reading parquet takes pyarrow: pip install 'celeriac[parquet]', or give a .csv file"
        ) from None
    try:
        size = parquet.read_metadata(path)
        if size.num_rows * size.num_columns > MAX_CELLS:  # a few bytes say of millions of rows that they are equal
            raise DataMissingError(f"{path} has {size.num_rows:,} rows, too many: {MAX_CELLS:,} cells are allowed")
        table = parquet.read_table(path)
        columns = [[None if value is None else str(value) for value in column.to_pylist()] for column in table.columns]
    except (ArrowException, ValueError, OverflowError) as error:  # also what Python has no value for, as a far date
        raise DataMissingError(f"{path} is no parquet file of a table: {str(error).partition(chr(10))[0]}") from None
    rows = list(itertools.zip_longest(*columns))
    return list(table.column_names), range(2, len(rows) + 2), rows
