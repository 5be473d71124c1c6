"""Mixers, a file each: pure functions that say of which updates means are taken before they are aggregated."""

from __future__ import annotations

from typing import cast

from orchestrator.mixers.mixer import Mixer, MixingError
from tasks.loading import load_form

MIXERS = {
    "bucketing": "orchestrator.mixers.bucketing:bucketing",
    "nnm": "orchestrator.mixers.nnm:mix_nearest",
}
"""Names at ``--mix``, and where each is."""

FORMS = {"bucketing": "bucketing[:S]"}
"""Those that take a parameter after a colon, and how they're written: each is a function from the text after the colon,
empty if there is none, to the mixer."""

__all__ = ["FORMS", "MIXERS", "Mixer", "MixingError", "load_mixer"]


def load_mixer(spec: str) -> Mixer:
    """Return a mixer by name, ``name:parameter``, or ``module:function``; built-in names come before modules.

    Raises:
        UnknownNameError: If there is no such name.
        ConfigurationError: If its parameter makes no sense, or it takes none.
        LoadError: If it can't be imported or can't be called.
    """
    return cast(Mixer, load_form("mixer", spec, MIXERS, FORMS))
