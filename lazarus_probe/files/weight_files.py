"""Writing mlx arrays to a safetensors file atomically."""

from __future__ import annotations

import errno
import os
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx

from lazarus_probe.files.whole_files import whole_file


def write_arrays(path: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str]) -> None:
    """Write arrays by name, with metadata, atomically.

    Raises:
        OSError: they cannot be written, naming the file; a previous file is unchanged.
    """
    with whole_file(path) as aside:
        write_unfinished(aside, arrays, metadata)


def write_unfinished(aside: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str]) -> None:
    """As `write_arrays`, to a temporary file that the caller renames.

    Raises:
        OSError: they cannot be written.
    """
    try:
        mx.save_safetensors(str(aside), dict(arrays), dict(metadata))
    except RuntimeError as error:
        # mlx's error does not give the reason.
        full = shutil.disk_usage(aside.parent).free < sum(value.nbytes for value in arrays.values())
        reason = os.strerror(errno.ENOSPC) if full else str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, reason, str(aside)) from None
    # Nor does mlx always report a full disk: the file is then too short.
    if aside.stat().st_size < _size(aside, arrays):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(aside))


def _size(path: Path, arrays: Mapping[str, mx.array]) -> int:
    """The size in bytes of a file of these arrays: the length of its header, the header, and the values."""
    with path.open("rb") as file:
        head = file.read(8)
    values = sum(value.nbytes for value in arrays.values())
    return 8 + values + (struct.unpack("<Q", head)[0] if len(head) == 8 else 0)
