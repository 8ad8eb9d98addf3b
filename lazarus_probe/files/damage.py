"""What reading a file of arrays raises when the file is damaged, or none at all."""

from __future__ import annotations

import tokenize
import zipfile
import zlib

# An archive's parts, its compression, an array's header, and sizes that a damaged header claims.
DAMAGED: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    SyntaxError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    MemoryError,
)
