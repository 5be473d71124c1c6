from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tasks import own_packages
from tasks.own_packages import OWN_PACKAGES, ROOT


def test_our_names_are_found_beside_us_whatever_comes_first_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a folder with modules of our names and one of another, first on the path
    names = (*OWN_PACKAGES, "my_study")
    for name in names:
        (tmp_path / f"{name}.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "modules", {name: mod for name, mod in sys.modules.items() if name not in names})
    # When each is looked for
    found = {name: importlib.util.find_spec(name) for name in names}
    origins = {name: Path(spec.origin) for name, spec in found.items() if spec and spec.origin}
    # Then ours are ours, and the other is the folder's
    assert origins == {
        **{name: ROOT / name / "__init__.py" for name in OWN_PACKAGES},
        "my_study": tmp_path / "my_study.py",
    }


def test_names_are_claimed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a process that has claimed our names, when it does so again, then nothing changes
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    own_packages.claim()
    before = list(sys.meta_path)
    own_packages.claim()
    assert sys.meta_path == before
