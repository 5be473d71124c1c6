from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.config import RunConfig
from orchestrator.options import GroupedOption
from orchestrator.start import main
from tasks.option import GROUPS

ROOT = Path(__file__).parents[3]


def test_help_lists_every_flag_with_its_default() -> None:
    # Given the command, when help is asked for, then all flags are there
    result = CliRunner().invoke(main, ["--help"], env={"CELERY_BROKER_URL": None}, terminal_width=110)
    assert result.exit_code == 0
    flags = re.findall(r"--[a-z-]+", result.stdout)
    settings = {
        name for name in RunConfig.model_fields if name not in {"run_id", "local", "options", "max_failed_rounds"}
    }
    names = {parameter.name: parameter.opts[0] for parameter in main.params}
    assert all(names[setting] in flags for setting in settings)
    assert {"--broker", "--run-dir", "--resume", "--epochs", "--batch-size", "--learning-rate"} <= set(flags)
    assert "[default: 10;" in " ".join(result.stdout.split())
    # And they are listed by what one wants to set, each in one group
    headings = [line.removesuffix(":") for line in result.stdout.splitlines() if re.fullmatch(r"[A-Z].*:", line)]
    assert headings == [*GROUPS, "Help"]
    assert {option.group for option in main.params if isinstance(option, GroupedOption)} == set(GROUPS)


@pytest.mark.parametrize("is_installed", [True, False])
def test_the_version_is_the_installed_one_or_that_of_the_checkout(
    monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    # Given an installation, or a checkout alone
    if not is_installed:
        monkeypatch.setattr(metadata.Distribution, "discover", lambda **_: iter(()))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    # When the version is asked for, beside an option that would start a run, then it is all that is said
    result = CliRunner().invoke(main, ["--rounds", "1", "--version"])
    assert (result.exit_code, result.output) == (0, f"celeriac {version}\n")
    assert list(Path.cwd().iterdir()) == []
