"""Reminds the client's operator, once a day, that its enrolment ends soon."""

from __future__ import annotations

import logging
import threading
import time

from tasks.errors import ConfigurationError
from tasks.trust.enrolment import Enrolment

logger = logging.getLogger(__name__)

_DAY_S = 24 * 3600.0


def remind(own: Enrolment) -> None:
    """Say when an enrolment ends, if that is soon, or has been."""
    try:
        if own.ends_soon:
            logger.warning(
                "the enrolment of %s ends on %s: ask the operator to renew it, and accept the new package",
                own.package.named,
                f"{own.package.until:%Y-%m-%d %H:%M} UTC",
            )
    except ConfigurationError as error:
        logger.warning("%s", error)


def keep_reminding(own: Enrolment) -> None:
    """Remind now and once a day, as long as this process lives."""

    def go_on() -> None:
        while True:
            remind(Enrolment(own.folder))  # a renewed one is in the same folder
            time.sleep(_DAY_S)

    threading.Thread(target=go_on, name="reminder", daemon=True).start()
