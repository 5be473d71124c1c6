"""How a client's worker ends that can't start: with one line that says why."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.described import described
from tasks.errors import FederationError
from tasks.readable import readable

logger = logging.getLogger(__name__)


def end(reason: str, exit_code: int) -> None:
    """End this process with a line on standard error, which Celery may have turned into its log by then."""
    print(f"error: {readable(reason)}", file=sys.__stderr__, flush=True)
    sys.exit(exit_code)


@contextmanager
def said_at_once(say: Callable[[str, int], None] = end) -> Iterator[None]:
    """End this process with one line that says what is wrong, after the traceback of what a user's code raised.

    Celery swallows what a signal's handler raises: the worker would stay, and be no client.

    Args:
        say: Is given the line and the exit code.
    """
    try:
        yield
    except FederationError as error:
        if error.__cause__ is not None:
            logger.exception("the client can't start")
        say(str(error), error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # the boundary: whatever it was
        logger.exception("the client can't start")
        say(described(error), 1)
