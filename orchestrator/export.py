"""The command ``python -m orchestrator.export RUN FILE``: writes a run's model to a file for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from orchestrator.opening import shown_path
from orchestrator.store.best import BEST, model_of
from orchestrator.store.run_folder import RunFolder
from tasks import arrays
from tasks.arrays import Arrays
from tasks.errors import ConfigurationError, FederationError
from tasks.files import replacing
from tasks.readable import readable

FORMATS = (".safetensors", ".pt")


class _RoundNumber(click.IntRange):
    """A round's number, or ``best``."""

    def __init__(self) -> None:
        super().__init__(0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == BEST else super().convert(value, param, ctx)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--round",
    "round_number",
    type=_RoundNumber(),
    metavar="N|best",
    help="The round whose model is written; 0 is the initial one. Without it the newest is. The best is by the run's "
    "--best-by.",
)
def main(run: Path, file: Path, round_number: int | str | None) -> None:
    """Write the model of the run in folder RUN to FILE, whose name ends in .safetensors or .pt.

    A .pt file is a dict of tensors, for torch.load(FILE, weights_only=True). A file that is there is replaced.
    """
    try:
        written = export(run, file, round_number)
    except FederationError as error:
        click.echo(f"error: {readable(str(error))}", err=True)
        sys.exit(error.exit_code)
    click.echo(f"the model after round {written} is in {shown_path(file)}")


def export(run: Path, file: Path, round_number: int | str | None = None) -> int:
    """Write a run's model after a round to a file, and return the round's number.

    Args:
        run: The run's folder.
        file: The file to write; its suffix, one of ``FORMATS``, gives the format.
        round_number: The round; 0 for the initial model, None for the last closed round, ``best`` for that of the best.

    Raises:
        ConfigurationError: If there is no such run or round, the model is damaged, or the file can't be written.
    """
    if file.suffix not in FORMATS:
        raise ConfigurationError(f"{file}: the name's end says what is written, {' or '.join(FORMATS)} are allowed")
    number, model = model_of(RunFolder.open(run), round_number)
    try:
        with replacing(file, mode=None) as temporary, temporary.open("wb") as stream:
            _write(file.suffix, model, stream)
    except OSError as error:
        raise ConfigurationError(f"{file} can't be written: {error}") from None
    return number


def _write(suffix: str, model: Arrays, stream: BinaryIO) -> None:
    if suffix == ".pt":
        _write_tensors(model, stream)
    else:
        stream.writelines(arrays.encode(model))


def _write_tensors(model: Arrays, stream: BinaryIO) -> None:
    try:
        import torch  # noqa: PLC0415  # takes a second, and only .pt files need it

        from celeriac.workloads.torch_arrays import tensor_of  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("a .pt file needs PyTorch, which isn't installed: write a .safetensors file") from None
    torch.save({name: tensor_of(values) for name, values in arrays.copied(model).items()}, stream)


if __name__ == "__main__":
    main()
