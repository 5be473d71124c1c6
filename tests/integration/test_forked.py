"""A program that is forked is to its test, and to itself, what it is where Python starts it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.protocol import installed_version
from tests.integration.forked import Forked, may_fork, nursery
from tests.integration.harness import ROOT, wait_until

SAYS = """\
import atexit, multiprocessing, os, sys
atexit.register(print, "the end")
print(__name__, __spec__.name, sys.argv, sys.orig_argv[1:], sys.path[:3])
print(os.getcwd(), os.environ["WORD"], "HOME" in os.environ, sys.stdin.read(), len(os.listdir("/proc/self/fd")))
print(os.getpid() == multiprocessing.current_process().pid, os.getsid(0), flush=True)
sys.stderr.write("beside it\\n")
sys.exit(int(sys.argv[1]))
"""
ENVIRONMENT = {"PYTHONPATH": f"{ROOT}:/nowhere", "WORD": "here"}
STAYS = "import time\nprint('here', flush=True)\ntime.sleep(1000)\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module that says how it is, and one that stays."""
    for name, text in (("says", SAYS), ("stays", STAYS)):
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def forked(folder: Path, *command: str) -> Forked:
    with (folder / "log").open("wb") as log:
        return nursery().fork(command, folder, ENVIRONMENT, log)


def test_a_program_finds_what_python_would_have_it_find(folder: Path) -> None:
    # Given a module that says what it is called, given and told, and where it is
    program = forked(folder, "says", "3", "more")
    code = program.wait(60)

    # When Python runs it with the same words, in the same folder
    done = subprocess.run(
        [sys.executable, "-m", "says", "3", "more"],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    # Then it says the same, up to its end
    assert (folder / "log").read_text() == done.stdout
    assert code == done.returncode == 3


def test_a_command_of_ours_says_no_more_than_it_does_elsewhere(folder: Path) -> None:
    # Given the command whose module was imported to begin with, when it is to say its version, then it does that alone
    assert forked(folder, "orchestrator.start", "--version").wait(60) == 0
    assert (folder / "log").read_text() == f"celeriac {installed_version()}\n"


def test_what_is_sent_ends_a_program_and_its_end_is_told(folder: Path) -> None:
    # Given a program that stays
    program = forked(folder, "stays")
    wait_until(lambda: (folder / "log").read_text() == "here\n", "it is there")
    assert program.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.01)

    # When it is told to end, then it ends by that, and what is sent later goes nowhere
    program.terminate()
    assert program.wait(60) == program.poll() == program.returncode == -signal.SIGTERM
    program.kill()


def test_what_is_to_be_measured_or_stands_on_other_modules_is_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("orchestrator.start", "--rounds", "1")
    assert may_fork(command, {"PYTHONPATH": f"{ROOT}:/nowhere"})
    assert not may_fork(command, {"PYTHONPATH": f"/nowhere:{ROOT}"})
    assert not may_fork(("celery", "-A", "orchestrator", "worker"), {})
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", "{}")
    assert not may_fork(command, {})
