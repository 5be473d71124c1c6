"""A run's folder: config, checkpoints, history, summary, and the updates of the round that is open.

Files are replaced whole or appended to by whole lines, so that a run can be killed at any point and taken up again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.config import RunConfig
from orchestrator.store.energy import Energy, RoundEnergy
from orchestrator.store.records import (
    CrossSiteMatrix,
    Evaluated,
    OpenRound,
    RoundEvaluated,
    RoundRecord,
    Summary,
    Verdicts,
)
from orchestrator.store.run_paths import RunPaths
from tasks.digests import digest_of_file
from tasks.errors import RunFolderError
from tasks.files import append_line, is_file, make_private, remove_temporaries, replace_text, replacing

LOOK_S = 0.5
"""Seconds in which whoever looks whether a run is on, and so keeps others from it for an instant, has surely looked."""
R = TypeVar("R", bound=BaseModel)
Recycle = Callable[[Iterable[Path]], None]
"""Is given files that nobody reads any more, and may do away with them."""


class RunFolder(RunPaths):
    """Files of one run."""

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> RunFolder:
        """Make the folder of a new run and save its config.

        Raises:
            RunFolderError: If the folder exists and isn't empty, or can't be made.
        """
        folder = cls(path)
        try:
            if folder._was_never_begun():
                folder.lock().close()  # nor is it being begun now
                shutil.rmtree(path)
            if path.is_dir() and folder.config_path.exists():
                raise RunFolderError(f"{path} holds a run already: go on with it by --resume {path}, or name another")
            if path.exists() and (not path.is_dir() or not all(map(_is_left_over, path.iterdir()))):
                raise RunFolderError(f"{path} exists and isn't an empty folder: name another with --run-dir")
            make_private(path)
            replace_text(folder.config_path, config.model_dump_json(indent=2) + "\n")
            for left_over in filter(_is_left_over, path.iterdir()):
                left_over.unlink(missing_ok=True)
            make_private(folder.logs)
            make_private(folder.checkpoints)
        except OSError as error:
            raise RunFolderError(f"the run's folder {path} can't be made: {error}") from None
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Return the folder of a run that was begun.

        Raises:
            RunFolderError: If there is none.
        """
        folder = cls(path)
        if not is_file(folder.config_path):
            raise RunFolderError(f"{path} isn't the folder of a run: it has no config.json")
        try:
            make_private(folder.logs)
            make_private(folder.checkpoints)
        except OSError as error:
            raise RunFolderError(f"{path} is damaged: {error}") from None
        return folder

    def lock(self) -> IO[str]:
        """Keep others from the run as long as the file that this returns is open; the lock dies with its process.

        Raises:
            RunFolderError: If another orchestrator is at work on it.
        """
        file = (self.config_path).open(encoding="utf-8")
        deadline = time.monotonic() + LOOK_S
        while not _lock(file, fcntl.LOCK_EX):
            if time.monotonic() < deadline:
                time.sleep(LOOK_S / 10)
                continue
            file.close()
            raise RunFolderError(
                f"another orchestrator is at work on the run in {self.path}: let it end, or end it, first"
            )
        if os.fstat(file.fileno()).st_ino != (self.config_path).stat().st_ino:
            file.close()
            raise RunFolderError(f"another orchestrator has just taken up the run in {self.path}")
        return file

    def is_at_work(self) -> bool:
        """Say whether an orchestrator is at work on the run."""
        with self.config_path.open(encoding="utf-8") as file:
            return not _lock(file, fcntl.LOCK_SH)

    def replace_config(self, config: RunConfig, lock: IO[str]) -> IO[str]:
        """Save another config, whole or not at all, and return the lock that keeps others from the run from then on.

        The lock is on the file rather than on its name: the new file is locked before it gets the name, and ``lock``,
        which is that of the old one, is let go after.

        Raises:
            RunFolderError: If it can't be written.
        """
        path = self.config_path
        try:
            with replacing(path) as temporary:
                file = temporary.open("w", encoding="utf-8")
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.write(config.model_dump_json(indent=2) + "\n")
                file.flush()
        except OSError as error:
            raise RunFolderError(f"{path} can't be written: {error}") from None
        lock.close()
        return file

    def has_rounds(self) -> bool:
        """Say whether a round was opened."""
        return bool(self.history()) or self.open_round_path.exists()

    def save_cross_site(self, matrix: CrossSiteMatrix) -> None:
        """Keep what clients found of each other's models."""
        replace_text(self.path / "cross-site.json", matrix.model_dump_json(indent=2) + "\n")

    def cross_site(self) -> CrossSiteMatrix | None:
        """Return what clients found of each other's models; None if they weren't asked, or the file is damaged."""
        try:
            return self._read(self.path / "cross-site.json", CrossSiteMatrix)
        except RunFolderError:
            return None

    def save_verdicts(self, round_number: int, verdicts: Verdicts) -> None:
        """Keep what a round's updates were judged to be, whole or not at all, until the round is closed."""
        path = self._verdicts_path(round_number)
        make_private(path.parent)
        replace_text(path, verdicts.model_dump_json(), durable=False)

    def verdicts(self, round_number: int) -> Verdicts:
        """Return what a round's updates were judged to be.

        Raises:
            RunFolderError: If they weren't judged.
        """
        return self._read(self._verdicts_path(round_number), Verdicts)

    def config(self) -> RunConfig:
        """Return the run's config.

        Raises:
            RunFolderError: If it is damaged.
        """
        return self._read(self.config_path, RunConfig)

    def history(self) -> list[RoundRecord]:
        """Return the records of the closed rounds, evaluated as far as is known; a line that was cut short is not one.

        Raises:
            RunFolderError: If another line is damaged.
        """
        try:
            content = (self.path / "history.jsonl").read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunFolderError(f"{self.path / 'history.jsonl'} is damaged: {error}") from None
        *lines, _cut_short = content.split(b"\n")
        try:
            records = [RoundRecord.model_validate_json(line) for line in lines]
        except ValidationError as error:
            raise RunFolderError(f"{self.path / 'history.jsonl'} is damaged: {error.errors()[0]['msg']}") from None
        if [record.round_number for record in records] != list(range(1, len(records) + 1)):
            raise RunFolderError(f"{self.path / 'history.jsonl'} is damaged: its rounds are not numbered from 1 on")
        evaluations = self._evaluations()
        return [record.with_evaluation(evaluations.get(record.round_number)) for record in records]

    def progress(self) -> object:
        """Return what is another one as soon as a round was closed, or a model evaluated."""
        return [
            (found.st_ino, found.st_size)
            for name in ("initial.json", "history.jsonl", "evaluations.jsonl")
            if (path := self.path / name).exists() and (found := path.stat())
        ]

    def not_evaluated(self, history: Iterable[RoundRecord] | None = None) -> list[int]:
        """Return the closed rounds whose turn it was to be evaluated and that were not, where there is data for it.

        Args:
            history: The rounds' records, where they have been read; None reads them.
        """
        return [
            record.round_number
            for record in ((self.history() if history is None else history) if self.initial().is_known else [])
            if record.status == "closed"
            and record.evaluation_due
            and not record.metrics
            and not record.evaluation_problem
        ]

    def save_evaluation(self, round_number: int, evaluated: Evaluated, *, durable: bool = False) -> None:
        """Keep how good the model is that a round ended with; ``durable`` where it can't be found anew."""
        line = RoundEvaluated(round_number=round_number, **evaluated.model_dump())
        append_line(self.path / "evaluations.jsonl", line.model_dump_json(), durable=durable)

    def _evaluations(self) -> dict[int, RoundEvaluated]:
        """Return what evaluations of models found, by round; a damaged line is none."""
        found = {}
        with suppress(FileNotFoundError):
            for line in (self.path / "evaluations.jsonl").read_bytes().splitlines():
                with suppress(ValidationError):
                    evaluated = RoundEvaluated.model_validate_json(line)
                    found[evaluated.round_number] = evaluated
        return found

    def check_checkpoint(self, round_number: int | None = None) -> None:
        """Check that a round's checkpoint is the one that the history tells of.

        Args:
            round_number: The round; None for the last that is over. Of the initial model, 0, no digest is kept.

        Raises:
            RunFolderError: If it is missing or has been changed, or there is no such round.
        """
        history = self.history()
        number = len(history) if round_number is None else round_number
        if number > len(history):
            raise RunFolderError(f"round {number} of the run in {self.path} isn't over: {len(history)} rounds are")
        if number == 0:
            if round_number == 0 and not self.checkpoint(0).exists():
                raise RunFolderError(f"the run in {self.path} has no model yet")
            return
        _check_digest(self.checkpoint(number), history[number - 1].digest)
        if history[number - 1].state_digest:
            _check_digest(self.state(number), history[number - 1].state_digest)

    def close_round(self, record: RoundRecord, recycle: Recycle = lambda _: None) -> None:
        """Append a round's record; from then on the round is closed, and its updates are done with.

        Their files are given to ``recycle``, so that others can be written over them.
        """
        append_line(self.path / "history.jsonl", record.model_dump_json())
        self.open_round_path.unlink(missing_ok=True)
        self.discard_updates(recycle)

    def save_open_round(self, record: OpenRound) -> None:
        """Keep what is needed to take the open round up again; after a loss of power it is opened anew."""
        replace_text(self.open_round_path, record.model_dump_json(), durable=False)

    def open_round(self) -> OpenRound | None:
        """Return the round that was open when the orchestrator ended, or None."""
        path = self.open_round_path
        return self._read(path, OpenRound) if path.exists() and not _is_blank(path) else None

    def discard_updates(self, recycle: Recycle = lambda _: None) -> None:
        """Remove what was taken in; files of updates are given to ``recycle`` before."""
        updates = self.path / "updates"
        recycle([*updates.glob("*/*.safetensors"), *updates.glob("*/*.packed")])
        shutil.rmtree(updates, ignore_errors=True)

    def save_initial(self, evaluated: Evaluated) -> None:
        """Keep how good the initial model is."""
        replace_text(self.path / "initial.json", evaluated.model_dump_json() + "\n", durable=False)

    def initial(self) -> Evaluated:
        """Return how good the initial model is; nothing is known of it before it is made, nor in an old run."""
        try:
            return self._read(self.path / "initial.json", Evaluated)
        except RunFolderError:
            return Evaluated()

    def remove_temporaries(self) -> None:
        """Remove files that a process was writing when it was killed; for the orchestrator, with no worker at work."""
        updates = self.path / "updates"
        if not self.open_round_path.exists():
            self.discard_updates()
        remove_temporaries([*self.path.glob("*.tmp"), *self.checkpoints.glob("*.tmp"), *updates.rglob("*.tmp")])

    def add_energy(self, line: RoundEnergy) -> None:
        """Append what a round took."""
        append_line(self.path / "energy.jsonl", line.model_dump_json(), durable=False)

    def energy(self) -> Energy | None:
        """Return what the run took in all, or None if nobody has noted it; a damaged line is none."""
        lines = []
        with suppress(FileNotFoundError):
            for line in (self.path / "energy.jsonl").read_bytes().splitlines():
                with suppress(ValidationError):
                    lines.append(RoundEnergy.model_validate_json(line))
        return Energy.of(lines) if lines else None

    def save_summary(self, summary: Summary) -> None:
        """Write ``summary.json``."""
        replace_text(self.path / "summary.json", summary.model_dump_json(indent=2) + "\n")

    def summary(self) -> Summary | None:
        """Return the summary, or None if the run hasn't ended in any way yet, or the file is damaged."""
        try:
            return self._read(self.path / "summary.json", Summary)
        except RunFolderError:
            return None

    def _was_never_begun(self) -> bool:
        """Say whether this is the folder of a run that found its settings wrong, and did nothing."""
        ended = self.summary()
        has_models = self.checkpoints.is_dir() and any(self.checkpoints.iterdir())
        return ended is not None and ended.status == "failed" and ended.rounds == 0 and not has_models

    def _read(self, path: Path, kind: type[R]) -> R:
        try:
            return kind.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise RunFolderError(f"{path} is damaged: {str(error).splitlines()[0]}") from None


def _lock(file: IO[str], how: int) -> bool:
    """Lock a file, and say whether it could be."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_left_over(path: Path) -> bool:
    """Say whether this is what a start leaves that was killed before it had written the config."""
    return path.name.startswith("config.json.") and path.suffix == ".tmp"


def _is_blank(path: Path) -> bool:
    """Say whether there is nothing in a small file, as after a loss of power."""
    with path.open("rb") as file:
        return not file.read(16).strip(b"\0")


def _check_digest(path: Path, digest: str) -> None:
    try:
        found = digest_of_file(path)
    except OSError as error:
        raise RunFolderError(f"the checkpoint {path} can't be read: {error}") from None
    if found != digest:
        raise RunFolderError(f"the checkpoint {path} is damaged: it isn't the one that was written")
