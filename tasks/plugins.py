"""Finding the user's own code by ``package.module:name``.

Such a name may come out of a run's folder that somebody else has made. So nothing of Python's standard library is
loaded by it, and what is called with a text out of it says first what it returns: a name can't run a command.
"""

from __future__ import annotations

import difflib
import functools
import gc
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tasks.described import described
from tasks.errors import ConfigurationError, LoadError, UnknownNameError

T = TypeVar("T")
NO_FILE = "sha256:(there is no such file)"
"""Stands for the digest of a module without a file."""


def near_name(name: str, known: Iterable[str]) -> str:
    """Say which names are known, and which of them is nearest to ``name``."""
    names = sorted(known)
    near = difflib.get_close_matches(name.partition(":")[0], names, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"{guess}known are {', '.join(names)}"


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """Say the same of names beside which there may be the user's own."""
    return f"{near_name(name, known)}, or your own as module:name"


def check_spec(kind: str, spec: str, known: Mapping[str, str]) -> str:
    """Return ``spec`` as ``module:name`` without importing anything heavy.

    Args:
        kind: What is looked for, for the message (``workload``, …).
        spec: A key of ``known``, or ``module:name``.
        known: Built-in names and the ``module:name`` of each.

    Raises:
        UnknownNameError: If ``spec`` is neither.
        LoadError: If there is no such module, or it is of Python's standard library.
    """
    if spec in known:
        return known[spec]
    module, colon, name = spec.partition(":")
    if not (colon and module and name.isidentifier()):
        raise UnknownNameError(kind, spec, nearest_hint(spec, known))
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise LoadError(
            f"{kind} {spec!r}: {module!r} is of Python's standard library: a module of yours is needed, by another name"
        )
    add_current_folder()
    try:
        found = _is_name(module) and importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    except (Exception, SystemExit) as error:  # looking for a module imports the package that it is in
        raise LoadError(f"{kind} {spec!r}: importing its package failed: {described(error)}") from error
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
        with _uncollected():
            module = importlib.import_module(module_name)
    except ConfigurationError:
        raise  # it says what it lacks
    except (Exception, SystemExit) as error:  # whatever the user's module raises while it is imported
        raise LoadError(f"{kind} {spec!r}: importing {module_name!r} failed: {described(error)}") from error
    try:
        found: object = getattr(module, name)
    except AttributeError:
        public = [n for n in vars(module) if not n.startswith("_")]
        near = difflib.get_close_matches(name, public, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise LoadError(f"{kind} {spec!r}: {module_name!r} has no {name!r}{guess}") from None
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """Have the garbage collector wait: what is imported stays, and it would look through PyTorch for half a second."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


def load_function(kind: str, spec: str, known: Mapping[str, str]) -> Callable[..., Any]:
    """Import and return the function that ``spec`` names; see :func:`load`.

    Raises:
        UnknownNameError: If ``spec`` is neither a known name nor ``module:name``.
        LoadError: If it can't be imported, can't be called, or was made in Python's standard library.
    """
    found = load(kind, spec, known)
    if not callable(found):
        raise LoadError(f"{kind} {spec!r} is {type(found).__name__}, not a function")
    origin = _origin(found)
    if origin.partition(".")[0] in sys.stdlib_module_names:
        raise LoadError(f"{kind} {spec!r} is of Python's standard library ({origin}): a function of yours is needed")
    return found


def load_form(kind: str, spec: str, known: Mapping[str, str], forms: Iterable[str]) -> Callable[..., Any]:
    """Import and return the function that ``name``, ``name:parameter`` or ``module:name`` names; see :func:`load`.

    Args:
        kind: What is looked for, for the message.
        spec: A key of ``known``, with a parameter or without, or ``module:name``; keys come before modules.
        known: Built-in names and the ``module:name`` of each.
        forms: Those of them that take a parameter: each is a function from its text, which may be empty, to what is
            looked for.

    Raises:
        UnknownNameError: If there is no such name.
        ConfigurationError: If its parameter makes no sense, or it takes none.
        LoadError: If it can't be imported or can't be called.
    """
    name, colon, parameter = spec.partition(":")
    if name in forms:
        made: Callable[..., Any] = load_function(kind, name, known)(parameter)
        return made
    if name in known and colon:
        raise ConfigurationError(f"{kind} {spec!r}: {name} takes nothing after a colon")
    return load_function(kind, spec, known)


def load_factory(kind: str, spec: str, known: Mapping[str, str], returns: str, fits: Callable[[object], bool]) -> Any:
    """Import and return what ``spec`` names: a function of a text, which may come out of a run's folder.

    One that isn't built in has to say what it returns before it is called: else ``joblib:load`` would be one.

    Args:
        kind: What is looked for, for the message.
        spec: A key of ``known``, or ``module:name``.
        known: Built-in names and the ``module:name`` of each.
        returns: The name of what it has to return, for the message.
        fits: Says of the annotation of what it returns, or of itself if it is a class, whether it is that.

    Raises:
        UnknownNameError: If ``spec`` is neither a known name nor ``module:name``.
        LoadError: If it can't be imported or called, or doesn't say that it returns that.
    """
    found = load_function(kind, spec, known)
    if spec in known or fits(_returned(found)):
        return found
    raise LoadError(
        f"{kind} {spec!r} doesn't say that it returns {'an' if returns[0] in 'AEIOU' else 'a'} {returns}: write "
        f"def {spec.rpartition(':')[2]}(…) -> {returns}, or a class that is one"
    )


def split_spec(spec: str, known: Container[str]) -> tuple[str, str]:
    """Split a spec into its name, one that is ``known`` or ``module:name``, and its parameter, which may be empty."""
    name, _, parameter = spec.partition(":")
    if name in known:
        return name, parameter
    own, _, own_parameter = parameter.partition(":")
    return (f"{name}:{own}", own_parameter) if own else (name, "")


def _origin(found: object) -> str:
    """Return the name of the module in which a function, class or instance was made."""
    while isinstance(found, functools.partial):
        found = found.func
    return str(getattr(found, "__module__", None) or type(found).__module__)


def _returned(found: Callable[..., Any]) -> object:
    """Return the class that calling ``found`` makes, or the annotation of what it returns; None if there is none."""
    if isinstance(found, type):
        return found
    try:
        return inspect.signature(found, eval_str=True).return_annotation
    except (TypeError, ValueError, NameError):  # no signature, or one that names what isn't there
        return None


def add_current_folder() -> None:
    """Have modules of the folder one stands in come first, as ``python -m`` does."""
    folder = str(Path.cwd())
    if sys.path[:1] in ([folder], [""]):
        return
    sys.path[:] = [folder, *(path for path in sys.path if path != folder)]


def digest_of(spec: str) -> str:
    """Return the SHA-256 of the file of the module that ``module:name`` names, which isn't run; ``NO_FILE`` without.

    Only this file counts: what it imports is not looked at. To find it imports the packages that it is in.
    """
    add_current_folder()
    try:
        found = importlib.util.find_spec(spec.partition(":")[0])
    except (Exception, SystemExit):  # whatever a package raises when it is imported
        found = None
    if found is None or found.origin is None or not Path(found.origin).is_file():
        return NO_FILE
    return f"sha256:{hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()}"
