"""Finding the user's own code by ``package.module:name``."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tasks.errors import LoadError, UnknownNameError

T = TypeVar("T")


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """Say which names are known, and which of them is nearest to ``name``."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"{guess}known are {', '.join(names)}, or your own as module:name"


def check_spec(kind: str, spec: str, known: Mapping[str, str]) -> str:
    """Return ``spec`` as ``module:name`` without importing anything heavy.

    Args:
        kind: What is looked for, for the message (``workload``, …).
        spec: A key of ``known``, or ``module:name``.
        known: Built-in names and the ``module:name`` of each.

    Raises:
        UnknownNameError: If ``spec`` is neither.
        LoadError: If there is no such module.
    """
    if spec in known:
        return known[spec]
    module, colon, name = spec.partition(":")
    if not (colon and module and name.isidentifier()):
        raise UnknownNameError(kind, spec, nearest_hint(spec, known))
    add_current_folder()
    try:
        found = _is_name(module) and importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    except Exception as error:  # looking for a module imports the package that it is in
        raise LoadError(f"{kind} {spec!r}: importing its package failed: {type(error).__name__}: {error}") from error
    if not found:
        raise LoadError(
            f"{kind} {spec!r}: there is no module {module!r} in this folder ({Path.cwd()}) or on the Python path"
        )
    return spec


def _is_name(module: str) -> bool:
    return all(part.isidentifier() for part in module.split("."))


def load(kind: str, spec: str, known: Mapping[str, str]) -> object:
    """Import and return the object that ``spec`` names; see :func:`check_spec`.

    Raises:
        UnknownNameError: If ``spec`` is neither a known name nor ``module:name``.
        LoadError: If the module can't be imported or has no such name.
    """
    module_name, _, name = check_spec(kind, spec, known).partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever the user's module raises while it is imported
        raise LoadError(
            f"{kind} {spec!r}: importing {module_name!r} failed: {type(error).__name__}: {error}"
        ) from error
    try:
        found: object = getattr(module, name)
    except AttributeError:
        public = [n for n in vars(module) if not n.startswith("_")]
        near = difflib.get_close_matches(name, public, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise LoadError(f"{kind} {spec!r}: {module_name!r} has no {name!r}{guess}") from None
    return found


def load_function(kind: str, spec: str, known: Mapping[str, str]) -> Callable[..., Any]:
    """Import and return the function that ``spec`` names; see :func:`load`.

    Raises:
        UnknownNameError: If ``spec`` is neither a known name nor ``module:name``.
        LoadError: If it can't be imported or can't be called.
    """
    found = load(kind, spec, known)
    if not callable(found):
        raise LoadError(f"{kind} {spec!r} is {type(found).__name__}, not a function")
    return found


def add_current_folder() -> None:
    """Make modules of the folder one stands in importable, as ``python -m`` does."""
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
