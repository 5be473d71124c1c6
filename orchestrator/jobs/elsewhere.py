"""Jobs where the run's folder isn't at hand: what they need of it comes as blobs, and is a folder for a while.

What a round's updates are looked at by is the model that the round starts from, and some small files. Who has the
folder puts them where the run's blobs are; who hasn't makes a folder of them, in which the same jobs are done.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orchestrator.jobs.job import Job, Loaded
from orchestrator.store.facts import BUFFERS, PREPARED, RESULTS
from orchestrator.store.run_folder import RunFolder
from tasks.blobs import blob
from tasks.blobs.blob import BlobRef
from tasks.digests import digest_of_file
from tasks.errors import RunFailedError
from tasks.files import make_private, replace_text
from tasks.scope import RunScope

FILES = "config.json", "open-round.json", BUFFERS.file, RESULTS.file, PREPARED.file
"""The small files of a run's folder that jobs of a round read; those that it hasn't aren't needed."""
FOLDER = "celeriac-worker-"
"""How the names of folders begin that processes make; the process's worker is next, by the number of its process."""


class Place(BaseModel):
    """Where what a job needs is, as the task's message says it: the run, its round, its store, and the small files.

    And where its folder is, for those who have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    run_dir: str
    round_number: int
    store: str
    files: BlobRef


class _Files(BaseModel):
    """The small files' texts by their names, and the model that the round starts from."""

    model_config = ConfigDict(extra="forbid")

    texts: dict[str, str]
    start: BlobRef


def published(job: Job) -> Place:
    """Put what jobs of a round need into the store, if this process hasn't yet, and say where it is.

    Args:
        job: A job where the run's folder is.
    """
    texts = {name: path.read_text() for name in FILES if (path := job.folder.path / name).exists()}

    def put() -> BlobRef:
        content = _Files(texts=texts, start=_published_start(job)).model_dump_json().encode()
        return blob.publish(job.store, _scope(job).round_files(job.round_number), [memoryview(content)])

    files = job.loaded.keep("files for others", tuple(texts.items()), put)
    return Place(
        run_id=job.config.run_id,
        run_dir=str(job.folder.path),
        round_number=job.round_number,
        store=job.config.blobs or "",
        files=files,
    )


def _published_start(job: Job) -> BlobRef:
    """Say where the model is that a round starts from: where clients find it, if that one isn't compressed."""
    assert job.opened is not None, "whose updates are looked at is open"
    if job.compressor is None or not job.compressor.also_models:
        return job.opened.parameters
    path = job.folder.checkpoint(job.round_number - 1)
    name = _scope(job).round_start(job.round_number)
    ref = BlobRef(name=name, size_bytes=path.stat().st_size, digest=digest_of_file(path))
    if not job.store.has(ref):
        job.store.put_file(ref, path)
    return ref


def withdraw(job: Job) -> None:
    """Take what was put for others out of the store, as the round is closed."""
    names = _scope(job).round_files(job.round_number), _scope(job).round_start(job.round_number)
    job.store.discard(names, job.model_bytes)


def job_at(place: Place, loaded: Loaded) -> Job:
    """Return a job in a folder that was made of what was put there for others.

    Raises:
        BlobError: If it isn't there any more: the round is over.
        RunFailedError: If the round isn't in it: it was closed as the files were put there, or they were removed here.
    """

    def fill() -> RunFolder:
        store = loaded.store_at(place.store)
        files = _Files.model_validate_json(bytes(store.get(place.files)))
        own: Path = loaded.keep("own folder", None, _new_folder)
        path = own / place.files.digest[:16]  # what is kept in memory of a file that is removed goes by its name
        folder = RunFolder(path)
        make_private(folder.checkpoints)
        store.take_file(files.start, folder.checkpoint(place.round_number - 1))
        for name in files.texts.keys() & set(FILES):
            replace_text(path / name, files.texts[name], durable=False)
        for former in set(own.iterdir()) - {path}:  # which serves on if this one can't be had
            shutil.rmtree(former)
        return folder

    job = Job(loaded.keep("folder elsewhere", place, fill), place.round_number, loaded)
    if job.opened is None:  # who takes updates in for another round would take them out of the store
        raise RunFailedError(f"round {place.round_number} isn't in {job.folder.path}, or is over")
    return job


def _new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getppid()}-"))


def remove_folders(*, of_this_worker: bool = False) -> None:
    """Remove the folders of workers that have ended, or of the one whose main process this is."""
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        number = path.name.removeprefix(FOLDER).partition("-")[0]
        if number.isdecimal() and (int(number) == os.getpid() if of_this_worker else not _is_there(int(number))):
            shutil.rmtree(path, ignore_errors=True)


def _is_there(process: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def _scope(job: Job) -> RunScope:
    return RunScope(job.config.run_id)
