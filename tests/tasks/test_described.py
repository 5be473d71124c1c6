from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from celeriac.workloads.datasets.idx import parse
from tasks.described import MAX_TEXT, described


def raised(act: Callable[[], object]) -> BaseException:
    """Return what calling ``act`` raises."""
    try:
        act()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def own(folder: Path, source: str) -> Callable[[], object]:
    """Return the function ``act`` of a user's module with this text."""
    path = folder / "my_study.py"
    path.write_text(source)
    names: dict[str, object] = {"__name__": "my_study"}
    exec(compile(source, str(path), "exec"), names)
    act = names["act"]
    assert callable(act)
    return act


def test_an_exception_is_told_with_the_file_and_line_of_the_user(tmp_path: Path) -> None:
    # Given a user's function that the standard library raises in
    act = own(tmp_path, "import json\n\ndef act():\n    return json.loads('{')\n")
    # When what it raises is described, then the line is the user's
    assert described(raised(act)) == (
        "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) "
        "(my_study.py, line 4, in act)"
    )


def test_an_exception_without_a_text_is_told_with_its_line(tmp_path: Path) -> None:
    # Given an assertion, when it is described, then the line stands for its words
    act = own(tmp_path, "def act():\n    assert 1 > 2\n")
    assert described(raised(act)) == "AssertionError: assert 1 > 2 (my_study.py, line 2, in act)"


def test_of_many_lines_the_first_is_told_and_of_a_long_one_the_beginning(tmp_path: Path) -> None:
    # Given a long text of two lines, when it is described, then its beginning is
    act = own(tmp_path, "def act():\n    raise ValueError('x' * 1000 + '\\nmore')\n")
    assert described(raised(act)) == f"ValueError: {'x' * MAX_TEXT}… (my_study.py, line 2, in act)"


@pytest.mark.parametrize("installed", ["site-packages", "dist-packages"])
def test_a_package_that_is_installed_anywhere_isnt_the_users(tmp_path: Path, installed: str) -> None:
    # Given a package in another environment's folder that calls back into the user's code, and raises then
    site = tmp_path / "elsewhere" / installed
    site.mkdir(parents=True)
    raising = own(site, "def act():\n    raise KeyError('x')\n")
    (tmp_path / "my_study.py").write_text("")
    names: dict[str, object] = {"__name__": "my_study", "raising": raising}
    exec(compile("def act():\n    raising()\n", str(tmp_path / "my_study.py"), "exec"), names)
    act = names["act"]
    assert callable(act)
    # When what it raises is described, then the line is the user's
    assert described(raised(act)) == "KeyError: 'x' (my_study.py, line 2, in act)"


def test_a_syntax_error_says_itself_where_it_is() -> None:
    # Given a text that can't be compiled, when it is described, then no place is added to the one it names
    assert described(raised(lambda: compile("def", "my_study.py", "exec"))) == (
        "SyntaxError: invalid syntax (my_study.py, line 1)"
    )


def test_what_only_an_installed_package_has_a_hand_in_is_told_with_its_line() -> None:
    # Given an exception whose frames are all the standard library's
    error = raised(lambda: json.loads("{"))
    while error.__traceback__ is not None and "json" not in error.__traceback__.tb_frame.f_code.co_filename:
        error.__traceback__ = error.__traceback__.tb_next
    # When it is described, then the innermost is told
    assert re.search(r" \(decoder\.py, line \d+, in raw_decode\)$", described(error))


def test_what_only_a_built_in_workload_has_a_hand_in_is_told_with_its_line() -> None:
    # Given an exception whose frames are all of our workloads
    error = raised(lambda: parse(memoryview(b""), Path("digits")))
    while error.__traceback__ is not None and "idx" not in error.__traceback__.tb_frame.f_code.co_filename:
        error.__traceback__ = error.__traceback__.tb_next
    # When it is described, then the line is the workload's
    assert re.search(r" \(idx\.py, line \d+, in parse\)$", described(error))
