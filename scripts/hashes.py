"""Writes ``hashes/*.txt``: what each file of a package that ``constraints.txt`` pins has to be, after the index.

``make hashes`` runs it where a pin was moved. Whatever file an installation takes, for any platform or Python, it has
to have one of its release's SHA-256 digests.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "hashes"
UNCHECKED = frozenset({"torch"})
"""Those that come from several indexes, each with builds of its own."""
_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(.*(?:\n .*)*)", re.MULTILINE)


def normalised(name: str) -> str:
    """Return a package's name as indexes have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Return package -> version of what a file pins, whether it has hashes or not."""
    return {normalised(name): version for name, version, _ in _ENTRY.findall(text)}


def _locked(uv: str, pinned: set[str], *extras: str) -> dict[str, str]:
    """Return package -> its lines, of those that are pinned and that an installation with these extras takes."""
    command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
    command += ["--no-annotate", "--no-header", "--constraint", "constraints.txt", "pyproject.toml"]
    command += [argument for extra in extras for argument in ("--extra", extra)]
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    entries = {normalised(entry[1]): entry[0] for entry in _ENTRY.finditer(found)}
    return {name: lines for name, lines in entries.items() if name in pinned - UNCHECKED}


def main(uv: str) -> None:
    """Write both files; ``uv`` is the program that resolves for all platforms at once."""
    pinned = set(pins((ROOT / "constraints.txt").read_text(encoding="utf-8")))
    run = _locked(uv, pinned, "page")
    dev = {name: lines for name, lines in _locked(uv, pinned, "page", "dev", "examples").items() if name not in run}
    FOLDER.mkdir(exist_ok=True)
    for name, entries, what in (("run", run, "a run takes"), ("dev", dev, "developing takes beside that")):
        lines = [f"# What {what}; make hashes writes this.", *entries.values()]
        (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
