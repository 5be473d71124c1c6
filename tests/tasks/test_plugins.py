from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tasks import plugins
from tasks.errors import ConfigurationError, LoadError, UnknownNameError

KNOWN = {"digits": "celeriac.workloads.datasets.digits:Digits", "mnist": "celeriac.workloads.datasets.mnist:Mnist"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own modules, in which one stands; what is imported out of it is forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def test_a_known_name_stands_for_its_module_and_name() -> None:
    # Given a built-in name, when it is checked, then its place is returned
    assert plugins.check_spec("workload", "digits", KNOWN) == "celeriac.workloads.datasets.digits:Digits"


@pytest.mark.parametrize(("spec", "guess"), [("digit", "digits"), ("minst", "mnist")])
def test_an_unknown_name_is_refused_with_the_nearest_one(spec: str, guess: str) -> None:
    # Given a name with a slip, when it is looked for, then the message guesses, and lists what there is
    with pytest.raises(UnknownNameError) as caught:
        plugins.check_spec("workload", spec, KNOWN)
    assert str(caught.value) == (
        f"unknown workload {spec!r}: did you mean {guess!r}? known are digits, mnist, or your own as module:name"
    )
    assert (caught.value.kind, caught.value.name, caught.value.exit_code) == ("workload", spec, 2)


@pytest.mark.parametrize("spec", ["zebra", "", ":", ":name", "module:", "module:na-me", "a:b:c", "module:1"])
def test_a_name_that_is_like_none_is_refused_without_a_guess(spec: str) -> None:
    # Given something that is neither a name nor module:name, when it is looked for, then the known ones are listed
    with pytest.raises(UnknownNameError, match=r": known are digits, mnist, or your own as module:name$"):
        plugins.check_spec("workload", spec, KNOWN)


@pytest.mark.parametrize("spec", ["nowhere:X", "nowhere.at.all:X", "..x:X", ".:X", "numpy.nothing:X", "__main__x:X"])
def test_a_module_that_isnt_there_is_told_with_the_folder(folder: Path, spec: str) -> None:
    # Given a module that doesn't exist, when it is checked, then the message says where it was looked for
    with pytest.raises(LoadError) as caught:
        plugins.check_spec("workload", spec, KNOWN)
    assert f"there is no module {spec.partition(':')[0]!r} in this folder ({folder})" in str(caught.value)


def test_a_module_in_the_folder_one_stands_in_is_found(folder: Path) -> None:
    # Given a module in the current folder
    (folder / "own_module.py").write_text("ANSWER = 42\n")
    # When a name in it is loaded, then it is found
    assert plugins.load("thing", "own_module:ANSWER", {}) == 42


def test_a_check_imports_nothing(folder: Path) -> None:
    # Given a module that can't be imported
    (folder / "own_module.py").write_text("raise RuntimeError('imported')\n")
    # When it is checked, then that is not noticed
    assert plugins.check_spec("thing", "own_module:ANSWER", {}) == "own_module:ANSWER"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("def", "SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_cant_be_imported_is_told_with_the_reason(folder: Path, source: str, reason: str) -> None:
    # Given a module with a mistake
    (folder / "own_module.py").write_text(source + "\n")
    # When it is loaded, then the message holds what it raised
    with pytest.raises(LoadError) as caught:
        plugins.load("workload", "own_module:X", KNOWN)
    assert str(caught.value).startswith(f"workload 'own_module:X': importing 'own_module' failed: {reason}")


def test_a_package_that_cant_be_imported_is_told_as_well(folder: Path) -> None:
    # Given a package whose first file has a mistake, and a module in it
    (folder / "own_package").mkdir()
    (folder / "own_package" / "__init__.py").write_text("raise RuntimeError('no luck')\n")
    (folder / "own_package" / "model.py").write_text("X = 1\n")
    # When the module is loaded, then it is the one error for that
    with pytest.raises(LoadError, match=r"own_package\.model:X"):
        plugins.load("workload", "own_package.model:X", KNOWN)


def test_a_name_that_the_module_hasnt_is_told_with_the_nearest_one(folder: Path) -> None:
    # Given a module with two names
    (folder / "own_module.py").write_text("class Model: ...\nclass _Mode: ...\n")
    # When a third is loaded, then the message guesses among the public ones
    with pytest.raises(LoadError, match=r"'own_module' has no 'Modle'; did you mean 'Model'\?$"):
        plugins.load("workload", "own_module:Modle", KNOWN)
    with pytest.raises(LoadError, match=r"'own_module' has no 'zebra'$"):
        plugins.load("workload", "own_module:zebra", KNOWN)


def test_all_of_these_errors_are_the_users_to_mend() -> None:
    # Given the errors of loading, when a command line ends with one, then its exit code is 2
    assert issubclass(UnknownNameError, ConfigurationError)
    assert issubclass(LoadError, ConfigurationError)
    assert ConfigurationError.exit_code == 2


def test_the_current_folder_is_added_once(folder: Path) -> None:
    # Given a folder that isn't on the path, when it is added twice, then it is there once
    assert str(folder) not in sys.path
    plugins.add_current_folder()
    plugins.add_current_folder()
    assert sys.path.count(str(folder)) == 1


@pytest.mark.parametrize("spec", ["subprocess:Popen", "os:system", "posix:system", "xml.sax:parse", "builtins:exec"])
def test_nothing_of_the_standard_library_is_loaded(spec: str) -> None:
    # Given a name of Python's own, when it is checked, then it is refused before it is imported
    module = spec.partition(":")[0]
    with pytest.raises(
        LoadError, match=f"'{module}' is of Python's standard library: a module of yours is needed, by another name"
    ):
        plugins.check_spec("scorer", spec, KNOWN)


@pytest.mark.parametrize(
    ("name", "origin"),
    [("getoutput", "subprocess"), ("system", "posix"), ("always", "subprocess"), ("Popen", "subprocess")],
)
def test_a_function_of_the_standard_library_that_another_module_has_is_refused(
    folder: Path, name: str, origin: str
) -> None:
    # Given a module that has imported functions of Python's own, and one with an argument bound
    (folder / "own_module.py").write_text(
        "from functools import partial\nfrom os import system\nfrom subprocess import Popen, getoutput\n"
        "always = partial(getoutput, 'ls')\n"
    )
    # When one is loaded, then it is refused
    with pytest.raises(LoadError, match=rf"is of Python's standard library \({origin}\): a function of yours"):
        plugins.load_function("scorer", f"own_module:{name}", KNOWN)


def test_functions_of_ones_own_are_taken_however_they_are_made(folder: Path) -> None:
    # Given a function, one that is kept by a decorator, one with an argument bound, and an instance that can be called
    (folder / "own_module.py").write_text(
        "import functools\n"
        "def plain(x): return x\n"
        "kept = functools.cache(plain)\n"
        "bound = functools.partial(plain, 1)\n"
        "class Made:\n"
        "    def __call__(self, x): return x\n"
        "made = Made()\n"
    )
    # When each is loaded, then it is there
    for name in ("plain", "kept", "bound", "made", "Made"):
        assert callable(plugins.load_function("scorer", f"own_module:{name}", KNOWN))


def test_the_current_folder_comes_first(folder: Path) -> None:
    # Given a folder that is the last of the path, when it is added, then it is the first
    sys.path.append(str(folder))
    plugins.add_current_folder()
    assert sys.path[0] == str(folder)
    assert sys.path.count(str(folder)) == 1
