"""The client's side of compression: reading the model, sending the update, and keeping what that lost of it."""

from __future__ import annotations

from pathlib import Path

from compressors import COMPRESSORS, NONE, Compressor, load_compressor, split_spec
from compressors.models import unpack_model
from compressors.updates import PackedUpdate, pack_update
from tasks.arrays import Arrays
from tasks.errors import ConfigurationError
from tasks.messages import UpdateOrder
from tasks.workload import Workload
from worker.local_state import LocalState

VARIABLE = "CLIENT_COMPRESSION"
KIND = "lost"
"""Folder, and set, of what was lost of a client's updates."""


class Packing:
    """How one order's model is read and its update is sent.

    Args:
        order: The order.
        folder: The client's own folder.
        workload: What is trained.
        allowed: The compression that isn't built in and may be used here all the same.

    Raises:
        ConfigurationError: If the order's compression isn't allowed here.
    """

    def __init__(self, order: UpdateOrder, folder: Path, workload: Workload, allowed: str | None) -> None:
        self._compressor = find_compressor(order.compression, allowed)
        self._workload = workload
        self._accepted = order.accepted
        self._lost = LocalState(folder, order.run_id, KIND)

    def unpack(self, packed: Arrays) -> Arrays:
        """Return the arrays that came with the order.

        Raises:
            ArraysError: If they aren't compressed as it says.
        """
        return unpack_model(self._compressor, packed)

    def pack(self, start: Arrays, update: Arrays) -> PackedUpdate:
        """Return what goes out of ``update``, to which belongs what was lost up to the last that was accepted.

        Args:
            start: The model that was trained from; empty where nothing was trained.
            update: What was trained, and the sets that go with it.
        """
        if self._compressor is None:
            return PackedUpdate(update, {}, update)
        lost = self._lost.load(self._accepted).get(KIND)
        return pack_update(self._compressor, start, update, self._workload.buffer_names(), lost)

    @property
    def began_anew(self) -> bool:
        """Whether what the last accepted update lost was gone; known when this one's is kept."""
        return self._lost.began_anew

    def keep(self, update_name: str, packed: PackedUpdate) -> None:
        """Keep what an update lost, should it be accepted."""
        self._lost.save(update_name, {KIND: packed.lost} if packed.lost else {})


def find_compressor(spec: str, allowed: str | None) -> Compressor | None:
    """Return the compressor that an order names: a built-in one, or the one that this client's operator has allowed.

    Raises:
        ConfigurationError: If it is neither; code isn't imported because an order says so.
    """
    name, _ = split_spec(spec)
    if name not in COMPRESSORS and name != NONE and (allowed is None or name != split_spec(allowed)[0]):
        raise ConfigurationError(f"the run's compression {spec!r} is not allowed here: set {VARIABLE}={name}")
    return load_compressor(spec)
