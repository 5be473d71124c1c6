"""Runs a program in a process group of its own, and leaves nothing of the group behind, whatever becomes of its caller.

It runs as a script, ``program_guard.py FOLDER PROGRAM [ARGUMENT...]``, with nothing but the standard library. It passes
SIGTERM on to the group, and kills the group when a byte comes on standard input. It does the same when standard input
ends, as it does when the caller has ended, even if that was killed; then it also removes the folder. Its exit code is
the program's, or 128 and the number of the signal that ended the program.
"""

from __future__ import annotations

import _thread  # threading, and others, would have the start take twice as long
import os
import signal
import sys


def main() -> None:
    """Run the program and end with its exit code."""
    folder, *words = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # until there is somebody to pass it on to
    pid = os.posix_spawnp(
        words[0],
        words,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setpgroup=0,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT],  # Python, and Celery's pool, ignore these
    )
    signal.signal(signal.SIGTERM, lambda *_: _signal_group(pid, signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    alone: list[bool] = []
    _thread.start_new_thread(_kill_when_told, (pid, alone))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _signal_group(pid, signal.SIGKILL)  # what the program has started may outlive it
    if alone:
        import shutil  # noqa: PLC0415  # likewise

        shutil.rmtree(folder, ignore_errors=True)
    os._exit(code if code >= 0 else 128 - code)


def _kill_when_told(pid: int, alone: list[bool]) -> None:
    if not os.read(0, 1):
        alone.append(True)
    _signal_group(pid, signal.SIGKILL)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # it is gone


if __name__ == "__main__":
    main()
