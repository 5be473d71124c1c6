"""What the commands of this project have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from tasks.errors import FederationError
from tasks.readable import readable


def telling_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Have a command end with an error's line and exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except FederationError as error:
            click.echo(f"error: {readable(str(error))}", err=True)
            sys.exit(error.exit_code)

    return run
