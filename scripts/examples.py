"""The examples: ``python -m scripts.examples`` runs each by its README; ``--write`` puts what they print into docs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.pasting import markdown, paste_into

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples"
PAGE = ROOT / "docs" / "examples.md"
TIMEOUT_S = 300
CODE = {".py", ".R", ".sh", ".ipynb"}
"""What the files of a study's code end with; where there are none its study.toml counts."""
_COMMANDS = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PRINTED = re.compile(r"(?<=^```text\n)(.*?)(?=^```)", re.MULTILINE | re.DOTALL)
_COMPLETED = re.compile(r"^completed: (\d+ rounds?) in [\d.]+ s, (.*)$", re.MULTILINE)
_AT_CLIENTS = re.compile(r"^on the clients' own held-out data: ([^(]+?) \(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Example:
    """An example: a folder with a README, which has the command and what it prints.

    Attributes:
        folder: The folder; its name is the example's.
    """

    folder: Path

    @property
    def readme(self) -> str:
        """Return the README's text."""
        return (self.folder / "README.md").read_text(encoding="utf-8")

    @property
    def title(self) -> str:
        """Return what the README calls it."""
        return self.readme.splitlines()[0].removeprefix("# ")

    @property
    def command(self) -> str:
        """Return what the README has one type in the folder, up to what is printed; empty if nothing is printed."""
        commands, printed, _ = self.readme.partition("```text\n")
        return "".join(_COMMANDS.findall(commands)) if printed else ""

    @property
    def printed(self) -> str:
        """Return what the README says that the command prints."""
        return "".join(_PRINTED.findall(self.readme))

    @property
    def num_lines(self) -> int:
        """Return how many lines the study has, blank ones left out: data, model and training."""
        files = [path for path in self.folder.iterdir() if path.suffix in CODE] or [self.folder / "study.toml"]
        return sum(bool(line.strip()) for path in files for line in _code_of(path).splitlines())

    def run(self, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run the README's command in a copy of the example.

        Args:
            folder: Where the copy is to be, and what the run leaves.
        """
        shutil.copytree(self.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs", "__pycache__"))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {name: value for name, value in os.environ.items() if name != "CELERY_BROKER_URL"}
        return subprocess.run(
            ["sh", "-ec", self.command],  # noqa: S607  # sh is where PATH says
            cwd=folder,
            env=environment | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def write(self, printed: str) -> None:
        """Put what was printed into the README."""
        (self.folder / "README.md").write_text(_PRINTED.sub(lambda _: printed, self.readme), encoding="utf-8")


def _code_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")


def examples() -> list[Example]:
    """Return the examples by name: each is a folder with a README."""
    return [Example(path.parent) for path in sorted(FOLDER.glob("*/README.md"))]


def runnable() -> list[Example]:
    """Return those that a command runs: not a notebook, which is looked at."""
    return [each for each in examples() if each.command]


def ending(printed: str) -> str:
    """Return what a run ended with, in short: its rounds and its metrics, or else the last line, if any."""
    completed, at_clients = _COMPLETED.search(printed), _AT_CLIENTS.search(printed)
    if completed is None:
        return "".join(printed.strip().splitlines()[-1:])
    rounds, metrics = completed.groups()
    if metrics.startswith("no held-out data"):
        return f"{rounds}, {at_clients[1]}" if at_clients else rounds
    return f"{rounds}, {metrics}"


def table() -> str:
    """Return the examples as a table of ``docs/examples.md``."""
    rows = [
        (f"[{each.folder.name}](../examples/{each.folder.name})", each.title, str(each.num_lines), ending(each.printed))
        for each in examples()
    ]
    return markdown(("example", "shows", "lines", "ends with"), rows)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice([each.folder.name for each in runnable()]))
@click.option("--write", is_flag=True, help="Put what is printed into the READMEs, and the table into the docs.")
def main(names: tuple[str, ...], *, write: bool) -> None:
    """Run the examples, or those that are named, and say what they end with."""
    chosen = [each for each in runnable() if not names or each.folder.name in names]
    failed = [each.folder.name for each in chosen if not _ran(each, write=write)]
    if write:
        paste_into(PAGE, {"examples": table()})
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}")


def _ran(example: Example, *, write: bool) -> bool:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = example.run(Path(folder))
    told = ending(done.stdout) if done.returncode == 0 else f"exit code {done.returncode}\n{done.stderr[-2000:]}"
    click.echo(f"{example.folder.name:16}{example.num_lines:4} lines {time.monotonic() - start:5.1f} s  {told}")
    if write and done.returncode == 0:
        example.write(done.stdout)
    return done.returncode == 0


if __name__ == "__main__":
    main()
