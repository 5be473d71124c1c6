"""The pages for those who come from another framework: their code trains, by their own commands."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np

from tasks.arrays import map_file
from tests.integration.harness import ROOT, Field, history, summary


def blocks(page: str, language: str) -> list[str]:
    """The code of a page in a language, block by block."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """The page's commands, as words."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines]


def options_of(command: list[str], changes: str = "") -> list[str]:
    """The options of a command that starts a run, some of them with other values."""
    assert command[:2] == ["-m", "orchestrator.start"]
    words = [*command[2:], *changes.split()]
    options = dict(zip(words[::2], words[1::2], strict=True))
    return [word for pair in options.items() for word in pair]


def start(field: Field, folder: Path, *options: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    field.start("run", "orchestrator.start", *options, cwd=folder, PATH=path).succeeds()


def test_the_quickstart_of_flower_trains_as_its_page_says(field: Field, tmp_path: Path) -> None:
    # Given pictures of ten classes, each of a colour and a place of its own, in the files that the page names
    rng = np.random.default_rng(0)
    (tmp_path / "cifar10").mkdir()
    for name, number in (("train", 600), ("test", 200)):
        labels = rng.integers(10, size=number)
        images = rng.integers(90, size=(number, 32, 32, 3))
        for image, label in zip(images, labels, strict=True):
            image[3 * label : 3 * label + 4, :, label % 3] += 160
        np.savez(tmp_path / "cifar10" / f"{name}.npz", images=images.astype(np.uint8), labels=labels)
    (code,) = blocks("from-flower.md", "python")
    (tmp_path / "my_study.py").write_text(code)
    first, second = commands("from-flower.md")
    # When the page's commands are run, with fewer clients, and more and smaller steps as there are few pictures
    start(field, tmp_path, *options_of(first, "--clients 2 --rounds 4 --epochs 4 --learning-rate 0.02"))
    field.start("export", *second[1:], cwd=tmp_path).succeeds()
    # Then the model learns, half of the clients evaluate each round, and the model is exported
    assert summary(tmp_path / "cifar-run")["final"]["accuracy"] > 0.5
    assert [record["num_evaluated"] for record in history(tmp_path / "cifar-run")] == [1] * 4
    assert (tmp_path / "final_model.pt").exists()


def test_hello_of_nvflare_is_a_class_or_a_script(field: Field, tmp_path: Path) -> None:
    # Given the page's class and its script
    study, script = blocks("from-nvflare.md", "python")
    (tmp_path / "my_study.py").write_text(study)
    (tmp_path / "client.py").write_text(script)
    first, make_model, second = commands("from-nvflare.md")
    field.start("model", *make_model, cwd=tmp_path, python=(sys.executable,)).succeeds()
    # When each is run by the page's command
    for name, command in (("class", first), ("script", second)):
        start(field, tmp_path, "--run-dir", name, *options_of(command))
        # Then 1 is added to the matrix in each of three rounds
        model = map_file(tmp_path / name / "checkpoints" / "round-0003.safetensors")
        np.testing.assert_array_equal(model["numpy_key"], np.arange(4.0, 13.0).reshape(3, 3))
    # And its mean is told
    assert history(tmp_path / "class")[-1]["client_metrics"] == {"weight_mean": 8.0}
    assert history(tmp_path / "script")[-1]["train_metrics"] == {"weight_mean": 8.0}
