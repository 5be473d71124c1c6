"""What a program hands to the processes of its run, and how they come by it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from celeriac.algorithms.fedprox import FEDPROX
from orchestrator.federate.by_value import ByValue
from tasks.errors import ConfigurationError
from tests.support import PULL, Pull


def load(by_value: ByValue, folder: Path, code: str) -> str:
    """What another process says that has the folder on its path."""
    by_value.write(by_value.pickled(), folder)
    command = [sys.executable, "-c", f"import {by_value.name} as handed; {code}"]
    found = subprocess.run(command, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_what_can_be_imported_goes_by_its_name() -> None:
    by_value = ByValue()
    assert by_value.spelled(Pull, "workload") == PULL
    assert by_value.spelled(["krum", 3, None], "verify") == ["krum", 3, None]
    assert by_value.objects == {}
    assert by_value.pickled() == b""


def test_a_class_of_a_program_is_found_by_another_process_with_the_names_that_it_uses(tmp_path: Path) -> None:
    # Given a class that no module has, and a function that it calls
    def told() -> str:
        return "from the program"

    class Study:
        def say(self) -> str:
            return told()

    # When it is handed over
    by_value = ByValue()
    spec = by_value.spelled(Study, "workload")
    # Then another process has it under the name that it was given
    assert spec == f"{by_value.name}:Study"
    assert load(by_value, tmp_path, "print(handed.Study().say())") == "from the program"


def test_two_of_one_name_and_those_without_have_names_of_their_own() -> None:
    by_value = ByValue()
    one, other = (lambda: 1), (lambda: 2)
    specs = by_value.spelled({"epochs": one, "mu": other}, "schedule")
    assert specs == {"epochs": f"{by_value.name}:schedule", "mu": f"{by_value.name}:schedule_"}
    # And one that is given twice has one
    assert by_value.spelled(one, "schedule") == f"{by_value.name}:schedule"


def test_an_instance_goes_by_value_though_its_class_has_a_name(tmp_path: Path) -> None:
    by_value = ByValue()
    assert by_value.spelled(FEDPROX, "algorithm") == f"{by_value.name}:Algorithm"
    assert load(by_value, tmp_path, "print(type(handed.Algorithm).__name__)") == "Algorithm"


def test_a_module_that_others_do_not_find_goes_with_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a module that isn't on the path, as pytest may import a test file
    module = ModuleType("nowhere_else")
    exec("class Study:\n    said = 'by value'", vars(module))
    monkeypatch.setitem(sys.modules, "nowhere_else", module)
    # When its class is handed over, then another process has it
    by_value = ByValue()
    by_value.spelled(module.Study, "workload")
    assert load(by_value, tmp_path, "print(handed.Study.said)") == "by value"


def test_what_cannot_be_pickled_is_refused_by_name() -> None:
    class Study:
        lock = threading.Lock()

    by_value = ByValue()
    by_value.spelled(Study, "workload")
    with pytest.raises(ConfigurationError, match=r"^Study can't be handed .*cannot pickle '_thread.lock' object"):
        by_value.pickled()


def test_an_error_says_in_which_file_and_line_it_was_raised(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError

    by_value = ByValue()
    by_value.spelled(fail, "select")
    code = "print(handed.fail.__code__.co_filename)"
    assert load(by_value, tmp_path, code) == __file__
