"""Our packages' names, which mean ours in a process that runs one of our commands.

They are common ones: a ``tasks.py`` in the folder one stands in, as Celery projects have it, comes before ours on the
path. The packages that commands begin with (``celeriac``, ``orchestrator``, ``worker``) import ``tasks`` from beside
themselves, before anything else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

OWN_PACKAGES = frozenset({"celeriac", "orchestrator", "tasks", "verification", "worker"})
ROOT = Path(__file__).parents[1]
"""The folder that they are in."""


class _Finder(MetaPathFinder):
    """Finds our packages beside this one, whatever else goes by their names on the path."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, [str(ROOT)]) if fullname in OWN_PACKAGES else None


def claim() -> None:
    """Have our packages' names mean ours from here on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
