"""Whose a row is, where local clients share a folder: by file, by a column of sites, or as many rows each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from celeriac.workloads.tables.columns import names_of
from celeriac.workloads.tables.rows import Rows, read_rows
from tasks.errors import DataMissingError
from tasks.seeds import generator
from tasks.workload import Part

SEED = 1_813


def share_of(paths: Sequence[Path], part: Part, site: str) -> Rows:
    """Read a client's rows.

    Args:
        paths: The folder's tables: one, or as many as there are parts, each a client's own.
        part: The client's part; the only one has all rows of the one table.
        site: The column of sites, which the parts get in their order, one after the other; empty: each gets as many
            rows as the others, at random.

    Raises:
        DataMissingError: If a table can't be read, there are too many parts, or tables that are nobody's.
    """
    if len(paths) > 1:
        if len(paths) != part.count:
            raise DataMissingError(
                f"{paths[0].parent} has {len(paths)} tables for {part.count} clients: as many are needed, or one, "
                "which file=NAME names"
            )
        return read_rows(paths[part.index])
    rows = read_rows(paths[0])
    if part.count == 1:
        return rows
    if site:
        return _of_sites(rows, part, site)
    if len(rows) < part.count:
        raise DataMissingError(f"{rows.path} has {len(rows)} rows for {part.count} clients: each needs one")
    shuffled = generator(SEED, "share").permutation(len(rows))
    return rows.take(np.sort(shuffled[part.index :: part.count]))


def _of_sites(rows: Rows, part: Part, site: str) -> Rows:
    sites = names_of(rows, site)
    if None in sites:
        raise rows.wrong(sites.index(None), site, "is no site: each row needs one")
    found = sorted({each for each in sites if each is not None})
    if len(found) < part.count:
        raise DataMissingError(
            f"{rows.path} has {len(found)} sites, by its column {site!r}, for {part.count} clients: each needs one "
            f"(--clients {len(found)})"
        )
    own = set(found[part.index :: part.count])
    return rows.take(np.array([index for index, each in enumerate(sites) if each in own]))
