"""The exceptions that reading a damaged file of arrays, or a file of another format, can raise."""

from __future__ import annotations

import tokenize
import zipfile
import zlib

# From an archive's members, its compression, an array's header, and sizes in a damaged header.
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
