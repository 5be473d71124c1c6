from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from celeriac.workloads.datasets.idx import read_content
from celeriac.workloads.tables.rows import MAX_CELLS, read_rows
from celeriac.workloads.tables.tabular import Tabular
from tasks.errors import DataMissingError
from tasks.workload import DataSource, Part
from tests.celeriac.workloads.datasets.tiny_data_sets import FORMATS
from tests.fuzz.bounds import SOME, read
from tests.fuzz.mutations import mutated

_CSV = b'age,sex,"blood, mmHg",y\n61,f,120.5,1\n47,m,,0\n33,f,"131",1\n29,,99,0\n70,m,140,1\n'
_DATA_SETS = (
    "fashion-mnist",
    "emnist letters",
    "cifar10",
    "cifar10 python",
    "cifar100 python",
    "femnist-leaf",
    "shakespeare-leaf",
)
"""Those whose files aren't all known by their digests."""


def changed(content: bytes) -> st.SearchStrategy[bytes]:
    """A file's content with something changed, as it is or gzipped, or gzipped and then changed."""
    anyhow = mutated(st.just(content))
    return anyhow | anyhow.map(gzip.compress) | mutated(st.just(gzip.compress(content, mtime=0)))


@pytest.mark.parametrize("name", _DATA_SETS)
def test_a_data_set_is_read_or_refused_whatever_is_in_its_files(name: str, tmp_path: Path) -> None:
    # Given a folder with a small data set of this format
    make, write = FORMATS[name]
    workload, folder = make(), write(tmp_path / "data")
    files = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    size_bytes = sum(map(len, files.values()))

    @SOME
    @given(st.sampled_from(sorted(files)).flatmap(lambda path: st.tuples(st.just(path), changed(files[path]))))
    def check(pair: tuple[Path, bytes]) -> None:
        path, content = pair
        # When one of its files is changed, and a client and the orchestrator read it
        path.write_bytes(content)
        size = size_bytes + len(content)
        found = read(lambda: workload.client_data(DataSource(folder, Part(0, 2))), size)
        read(lambda: workload.holdout_data(folder), size)
        path.write_bytes(files[path])
        # Then it is examples, or refused
        if found is not None:
            assert len(found.train) == found.num_train

    check()


@SOME
@given(content=changed(b"\0\0\x08\x01\0\0\0\x03abc"))
def test_a_gzipped_file_is_unpacked_or_refused_whatever_is_in_it(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "labels.gz"
    path.write_bytes(content)
    read(lambda: read_content(path), len(content))


def check_table(folder: Path, name: str, contents: st.SearchStrategy[bytes]) -> None:
    """Have a client read a table of such contents, and tell of its columns."""

    @SOME
    @given(contents)
    def check(content: bytes) -> None:
        (folder / name).write_bytes(content)
        workload = Tabular("y", test_share="0")
        data = read(lambda: workload.client_data(DataSource(folder, Part(0, 1))), 10 * len(content))
        if data is not None:
            read(lambda: workload.columns(data), 10 * len(content))

    check()


def test_a_csv_file_is_read_or_refused_whatever_is_in_it(tmp_path: Path) -> None:
    odd = st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=5), min_size=1, max_size=4), max_size=4)
    check_table(
        tmp_path,
        "table.csv",
        mutated(st.just(_CSV)) | odd.map(lambda rows: b"a,b,c,y\n" + "\n".join(map(",".join, rows)).encode()),
    )


def _parquet(columns: dict[str, Any], compression: str = "none") -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file, compression=compression)
    return file.getvalue()


_TYPES = (pa.timestamp("ms"), pa.timestamp("ns"), pa.duration("s"), pa.date32(), pa.float16(), pa.time64("us"))
"""Types some of whose values Python has no value for."""


@st.composite
def odd_parquet(draw: st.DrawFn) -> bytes:
    """A table of any values of a type, or of bytes that are said to be text."""
    if draw(st.integers(0, 3)) == 0:
        texts = pa.array(draw(st.lists(st.binary(max_size=3), min_size=2, max_size=2))).view(pa.string())
        return _parquet({"a": texts, "y": [1, 0]})
    kind = draw(st.sampled_from(_TYPES))
    raw = draw(st.binary(min_size=kind.bit_width // 4, max_size=kind.bit_width // 4))
    return _parquet({"a": pa.Array.from_buffers(kind, 2, [None, pa.py_buffer(raw)]), "y": [1, 0]})


def test_a_parquet_file_of_equal_values_is_refused_if_it_has_more_than_memory_holds(tmp_path: Path) -> None:
    # Given a hundred kilobytes that say of a hundred million rows that they have no value
    (tmp_path / "table.parquet").write_bytes(_parquet({"y": pa.nulls(MAX_CELLS + 1)}))
    # When it is read, then it is refused by what it says of its size
    with pytest.raises(DataMissingError, match="100,000,001 rows, too many: 100,000,000 cells are allowed"):
        read_rows(tmp_path / "table.parquet")


def test_a_parquet_file_is_read_or_refused_whatever_is_in_it(tmp_path: Path) -> None:
    columns = {"age": [61.0, None], "sex": ["f", "m"], "born": pa.array([1, 2], pa.timestamp("s")), "y": [1, 0]}
    whole = mutated(st.sampled_from((_parquet(columns), _parquet(columns, "snappy"))))
    check_table(tmp_path, "table.parquet", whole | odd_parquet())
