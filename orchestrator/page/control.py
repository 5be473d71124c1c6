"""Starting, stopping and resuming runs from the page: by the command line's own program, options and checks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from orchestrator.options import GroupedOption
from orchestrator.store.run_folder import RunFolder
from orchestrator.store.run_process import interrupt
from tasks.broker.url import URL_VARIABLE
from tasks.errors import ConfigurationError
from tasks.files import private
from tasks.option import GROUPS
from tasks.readable import readable

BEGIN_S = 60.0
"""Seconds that a run has to begin, or to say why it doesn't."""
MAX_FORM_BYTES = 2**16
_LOOK_S = 0.05
_NOT_ASKED = ("study", "run_dir", "resume", "accept_changed_code", "page", "version", "help")
"""Options that the page gives itself, or that mean nothing there."""


class RefusedError(ConfigurationError):
    """Raised when a run doesn't begin.

    Attributes:
        flag: The option that is wrong; empty if the message names none.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        found = re.search(r"--[a-z][a-z-]*", message)
        self.flag = found[0] if found else ""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the form: an option of the command line.

    Attributes:
        flag: The option, which is the field's name.
        group: Which group of options it is listed in.
        about: Its help.
        default: What it is if nothing is entered.
        choices: What may be chosen; empty if it is a text.
    """

    flag: str
    group: str
    about: str
    default: str
    choices: Sequence[str]


class Control:
    """Starts, stops and resumes runs.

    Args:
        runs: The folder of runs.
    """

    def __init__(self, runs: Path) -> None:
        from orchestrator.start import main as start_command  # noqa: PLC0415  # slow to import, and seldom needed

        self._runs = runs
        self._options = {
            option.opts[0]: option
            for option in start_command.params
            if isinstance(option, GroupedOption) and option.name not in _NOT_ASKED
        }

    def fields(self) -> dict[str, list[Field]]:
        """Return the form's fields by their groups, in the order of the command's help."""
        found = [_field(flag, option) for flag, option in self._options.items()]
        return {group: [each for each in found if each.group == group] for group in GROUPS}

    def start(self, given: Mapping[str, str]) -> str:
        """Begin a run, and return its name.

        Args:
            given: Option -> what was entered; nothing stands for the default.

        Raises:
            RefusedError: If the command refuses an option.
        """
        path = self._runs / _now()
        entered = {flag: text.strip() for flag, text in given.items() if flag in self._options and text.strip()}
        variables = {flag: self._options[flag].envvar for flag in entered}
        environment = {str(name): entered[flag] for flag, name in variables.items() if name}
        arguments = [
            argument
            for flag, text in entered.items()
            if not variables[flag]  # a password may be in it, and all users see a command line
            for argument in _arguments(flag, self._options[flag], text)
        ]
        self._begin([*arguments, f"--run-dir={path}"], path, environment)
        return path.name

    def resume(self, folder: RunFolder, broker: str = "") -> None:
        """Go on with a run.

        Args:
            folder: The run's.
            broker: The URL of its broker, if it has one; empty: the environment says it.

        Raises:
            RefusedError: If the command refuses to.
        """
        self._begin([f"--resume={folder.path}"], folder.path, {URL_VARIABLE: broker} if broker else {})

    def stop(self, folder: RunFolder) -> None:
        """End a run as Ctrl-C does where it was started.

        Raises:
            RunFolderError: If it isn't on, or runs elsewhere.
        """
        interrupt(folder.process)

    def _begin(self, arguments: Sequence[str], path: Path, environment: Mapping[str, str]) -> None:
        """Start the command, and return when the run is on; it goes on when the page ends.

        What it says on its terminal is kept among the run's logs.
        """
        if any("\0" in text for text in (*arguments, *environment.values())):
            raise RefusedError("a text with a zero byte is no option's value")
        folder, began = RunFolder(path), _now()
        told = self._runs / f".{began}.log"
        self._runs.mkdir(0o700, exist_ok=True)
        former = _read(folder.process)
        with open(told, "xb", opener=private) as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.start", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        threading.Thread(target=process.wait, daemon=True).start()
        if not _has_begun(process, folder.process, former):
            text = told.read_text(errors="replace")
            told.unlink()
            raise RefusedError(_last_line(text))
        if not folder.logs.is_dir():
            raise RefusedError(f"it has not begun within {BEGIN_S:g} s; what it says is in {told}")
        told.replace(folder.logs / f"command-{began}.log")


def _now() -> str:
    return datetime.now().strftime("%Y%m%d-%H%M%S-%f")


def _has_begun(process: subprocess.Popen[bytes], noted: Path, former: bytes) -> bool:
    """Wait until a run is on, its command has ended, or the time is up; False if the command refused it."""
    deadline = time.monotonic() + BEGIN_S
    while process.poll() is None and time.monotonic() < deadline:
        if _read(noted) not in (former, b""):  # of a run that was killed one is left
            return True
        time.sleep(_LOOK_S)
    return not process.poll()


def _field(flag: str, option: GroupedOption) -> Field:
    choices: Sequence[str] = ()
    if option.secondary_opts:
        choices = ("yes", "no")
    elif isinstance(option.type, click.Choice):
        choices = [str(choice) for choice in option.type.choices]
    default = option.show_default if isinstance(option.show_default, str) else option.default
    if isinstance(default, bool):
        default = "yes" if default else "no"
    shown = str(default) if isinstance(default, str | int | float) else ""
    return Field(flag, option.group, option.help or "", shown, choices)


def _arguments(flag: str, option: GroupedOption, text: str) -> Sequence[str]:
    """Return what the command line has for what was entered; several values have blanks between them."""
    if option.secondary_opts:
        return [flag if text == "yes" else option.secondary_opts[0]]
    return [f"{flag}={each}" for each in (text.split() if option.multiple else [text])]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("error: ")] or text.splitlines() or ["it has ended"]
    return str(readable(lines[-1].removeprefix("error: ")))
