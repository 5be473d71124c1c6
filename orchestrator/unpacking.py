"""Updates that come compressed: how long they may be, what they must look like, and what they are made into."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from compressors import Compressor
from compressors.updates import packed_spec, unpack_update
from tasks import arrays
from tasks.arrays import Arrays, Spec
from tasks.errors import ArraysError
from verification.checks import UpdateRejectedError, check_update


class Unpacking:
    """Makes compressed updates of one model into files like those that came as they are, an array at a time.

    Args:
        compressor: How they are compressed.
        model: The model that the round started from.
        spec: What an update has: the model's spec, with that of the sets that go with updates.
        buffers: Names of the model's arrays that aren't trained.
    """

    def __init__(self, compressor: Compressor, model: Arrays, spec: Spec, buffers: Collection[str]) -> None:
        self._compressor = compressor
        self._model = model
        self._spec = dict(sorted(spec.items()))
        self._buffers = buffers
        self._packed_spec = packed_spec(compressor, self._spec, buffers)

    @property
    def size_bytes(self) -> int:
        """Bytes of an update as it comes."""
        return arrays.encoded_size(self._packed_spec)

    def unpack(self, path: Path) -> None:
        """Make the file of an update as it came into that of what it stands for; if that fails it is as it was.

        Raises:
            ArraysError, UpdateRejectedError: If it isn't what the compressor makes of an update of this model.
        """
        packed = arrays.map_file(path)
        check_update(packed, self._packed_spec)
        unpacked = path.with_name(f"{path.name}.unpacked")
        try:
            with unpacked.open("wb") as file:
                file.write(arrays.encode_header(self._spec))
                for name, values in unpack_update(self._compressor, packed, self._model, self._spec, self._buffers):
                    entry = self._spec[name]
                    if (values.shape, values.dtype) != (entry.shape, entry.numpy_dtype):
                        raise ArraysError(f"array {name!r} came out as {values.dtype} {values.shape}")
                    file.write(values.tobytes())
            unpacked.replace(path)
        except (ArraysError, UpdateRejectedError, OSError):
            raise
        except Exception as error:  # whatever a compressor of the user's own raises
            raise UpdateRejectedError(f"it can't be decompressed: {type(error).__name__}: {error}") from error
        finally:
            unpacked.unlink(missing_ok=True)
