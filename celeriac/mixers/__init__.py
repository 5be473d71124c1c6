"""Mixers, a file each: pure functions that choose the updates to average before aggregation."""

from __future__ import annotations

from typing import cast

from celeriac.mixers.mixer import Mixer, MixingError
from tasks.plugins import load_form

MIXERS = {
    "bucketing": "celeriac.mixers.bucketing:bucketing",
    "nnm": "celeriac.mixers.nnm:mix_nearest",
}
"""Names for ``--mix``, and where each is defined."""

FORMS = {"bucketing": "bucketing[:S]"}
"""Mixers with a parameter, and how to write it: each is defined as a function from the text after the colon, which may
be empty, to the mixer."""

__all__ = ["FORMS", "MIXERS", "Mixer", "MixingError", "load_mixer"]


def load_mixer(spec: str) -> Mixer:
    """Return a mixer by name, ``name:parameter``, or ``module:function``; built-in names come before modules.

    Raises:
        UnknownNameError: If there is no such name.
        ConfigurationError: If its parameter is wrong, or it takes none.
        LoadError: If it can't be imported or can't be called.
    """
    return cast(Mixer, load_form("mixer", spec, MIXERS, FORMS))
