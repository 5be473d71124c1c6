"""The client's side of compression: reading the model, sending the update, and keeping what that lost of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from celeriac.compressors.models import unpack_model
from celeriac.compressors.updates import PackedUpdate, pack_update
from tasks import results
from tasks.arrays import Arrays
from tasks.messages import UpdateOrder
from worker.local_state import LocalState
from worker.settings import Allowed

KIND = "lost"
"""Folder, and set, of what was lost of a client's updates."""
_OF_PROTECTED = "lost-of-protected"
"""Likewise of those that the site's policy had clipped: what was lost of others never leaves with them."""


class Packing:
    """How one order's model is read and its update is sent.

    Args:
        order: The order.
        folder: The client's own folder.
        allowed: What of a user's own the order may name.

    Raises:
        ConfigurationError: If the order's compression isn't allowed here.
    """

    def __init__(self, order: UpdateOrder, folder: Path, allowed: Allowed) -> None:
        self._compressor = allowed.find_compressor(order.compression)
        self._accepted = order.accepted
        self._lost = LocalState(folder, order.run_id, _OF_PROTECTED if allowed.policy.protects() else KIND)

    def unpack(self, packed: Arrays) -> Arrays:
        """Return the arrays that came with the order; results among them aren't compressed.

        Raises:
            ArraysError: If they aren't compressed as it says.
        """
        others, found = results.split(packed)
        return results.join(unpack_model(self._compressor, others), found)

    def pack(self, start: Arrays, update: Arrays, buffer_names: Callable[[], frozenset[str]]) -> PackedUpdate:
        """Return what goes out of ``update``, to which belongs what was lost up to the last that was accepted.

        Args:
            start: The model that was trained from; empty where nothing was trained.
            update: What was trained, and the sets that go with it.
            buffer_names: Returns the names of the model's arrays that aren't trained.
        """
        if self._compressor is None:
            return PackedUpdate(update, {}, update)
        lost = self._lost.load(self._accepted).get(KIND)
        return pack_update(self._compressor, start, update, buffer_names(), lost)

    @property
    def began_anew(self) -> bool:
        """Whether what the last accepted update lost was gone; known when this one's is kept."""
        return self._lost.began_anew

    def keep(self, update_name: str, packed: PackedUpdate) -> None:
        """Keep what an update lost, should it be accepted."""
        self._lost.save(update_name, {KIND: packed.lost} if packed.lost else {})
