"""A worker that a run starts: ``worker_program.py --app APP --hostname NODE``.

It is what ``celery --app APP worker`` runs, without Celery's other commands, and what these draw on a terminal with:
they take a fifth of a second to import. It runs as a script.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # until the app has been imported, which enables it

import sys
from importlib import import_module

import click
from celery.utils.nodenames import default_nodename, host_format


@click.command()
@click.option("--app", required=True, help="Package that has the app, in its module celery.")
@click.option("--hostname", required=True, help="The worker's name, in which %h is the machine's.")
@click.option("--concurrency", type=int, help="Processes of its pool; else as many as the app says.")
def main(app: str, hostname: str, concurrency: int | None) -> None:
    """Be a worker of an app until it is told to end."""
    made = import_module(f"{app}.celery").app
    worker = made.Worker(hostname=host_format(default_nodename(hostname)), loglevel="INFO", concurrency=concurrency)
    worker.start()
    sys.exit(worker.exitcode)


if __name__ == "__main__":
    main()
