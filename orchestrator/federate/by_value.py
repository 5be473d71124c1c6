"""What a user's program hands to the processes of its run: by ``module:name`` where they can import it, else by value.

A class of a script or a notebook can't be imported. It is pickled by value, into a private folder of this one run,
beside a module that loads it, so that it has a ``module:name`` like any other. Nothing else loads such a file: it is
never in the run's folder, nor sent anywhere.
"""

from __future__ import annotations

import secrets
import sys
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.machinery import ModuleSpec
from io import BytesIO
from os import PathLike
from pathlib import Path
from threading import Lock
from types import CodeType, ModuleType
from typing import Any, ClassVar

import cloudpickle

from tasks.errors import ConfigurationError

_PICKLING = Lock()
"""Which modules go by value is noted for the whole process."""
MODULE_PATTERN = r"\bby_value_[0-9a-f]{8}\b"
_LOADS = '''"""Made for one run: what its user's program handed to it."""

import pickle
from pathlib import Path

globals().update(pickle.loads(Path(__file__).with_suffix(".pickle").read_bytes()))
'''


class ByValue:
    """The objects of one run that go by value.

    Args:
        name: Name of the module that they are in; empty for a new one.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name or f"by_value_{secrets.token_hex(4)}"
        self._module = ModuleType(self.name)
        self._module.__spec__ = ModuleSpec(self.name, None)

    @property
    def objects(self) -> dict[str, Any]:
        """The objects by their names."""
        return {name: value for name, value in vars(self._module).items() if not name.startswith("__")}

    def spelled(self, value: object, option: str) -> object:
        """Return an option's value with ``module:name`` for each object in it."""
        if value is None or isinstance(value, str | int | float | PathLike):
            return value
        if isinstance(value, Mapping):
            return {key: self.spelled(each, option) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.spelled(each, option) for each in value]
        return _importable(value) or self._added(value, option)

    def _added(self, value: object, option: str) -> str:
        name = str(getattr(value, "__name__", type(value).__name__))
        name = name if name.isidentifier() and not name.startswith("__") else option
        while self.objects.get(name, value) is not value:
            name += "_"
        setattr(self._module, name, value)
        return f"{self.name}:{name}"

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Have this process find the objects by their names, as they are, for as long as the block lasts."""
        sys.modules[self.name] = self._module
        try:
            yield
        finally:
            del sys.modules[self.name]

    def pickled(self) -> bytes:
        """Return the objects as bytes; empty if there are none.

        Raises:
            ConfigurationError: If one can't be handed to another process.
        """
        if not self.objects:
            return b""
        with _PICKLING, ExitStack() as stack:
            for module in {_module(value) for value in self.objects.values()}:
                if module in sys.modules and not _is_found(module):
                    cloudpickle.register_pickle_by_value(sys.modules[module])
                    stack.callback(cloudpickle.unregister_pickle_by_value, sys.modules[module])
            try:
                pickled = BytesIO()
                _Pickler(pickled).dump(self.objects)
            except Exception as error:  # whatever the user's objects raise
                raise ConfigurationError(
                    f"{', '.join(self.objects)} can't be handed to the run's processes ({type(error).__name__}: "
                    f"{error}): make it without what can't be pickled, or put it into a module of its own"
                ) from error
        return pickled.getvalue()

    def write(self, pickled: bytes, folder: Path) -> None:
        """Put the module that loads the objects into a folder that is nobody else's."""
        (folder / f"{self.name}.pickle").write_bytes(pickled)
        (folder / f"{self.name}.py").write_text(_LOADS, encoding="utf-8")


def _reduced(code: CodeType) -> tuple[Any, ...]:
    """Return what code is made of again, with the file that it is in, which cloudpickle leaves out: errors name it."""
    make, args, *more = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return make, tuple(code.co_filename if each == "<dynamic-code>" else each for each in args), *more


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    dispatch_table: ClassVar = ChainMap({CodeType: _reduced}, cloudpickle.Pickler.dispatch_table)


def _importable(value: object) -> str:
    """Return ``module:name`` of what another process can import by it; empty if none can."""
    module, name = _module(value), str(getattr(value, "__qualname__", ""))
    is_there = name.isidentifier() and getattr(sys.modules.get(module), name, None) is value
    return f"{module}:{name}" if is_there and _is_found(module) else ""


def _module(value: object) -> str:
    return str(getattr(value, "__module__", ""))


def _is_found(module: str) -> bool:
    """Say whether another process with the same paths finds a module."""
    top = module.partition(".")[0]
    return top != "__main__" and any(finder.find_spec(top, None) for finder in sys.meta_path)
