"""Opening an untrusted file: only a regular one, and up to a size limit.

A pipe, a device or a socket in place of a file could block a reader, or feed it for ever; a file may be larger than
memory. The type is checked on the open file, so that it cannot be swapped in between.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MIB = 1 << 20
MOST_TEXT = 64 * MIB
MOST_LINE = 16 * MIB
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def open_regular(path: str | Path) -> BinaryIO:
    """A file open for reading.

    Raises:
        OSError: it cannot be opened, or is not a regular file; links are followed.
    """
    _check_kind(Path(path).stat().st_mode, path)  # opening some devices has side effects
    # Non-blocking, in case the path has become a pipe without a writer.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check_kind(os.fstat(number).st_mode, path)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def check_regular(path: str | Path, most: int | None = None) -> int:
    """The size of a regular file that a library is about to open by name.

    Raises:
        OSError: it is not a regular file, or is larger than `most` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    if most is not None and size > most:
        raise _too_large(path, most)
    return size


def read_bytes(path: str | Path, most: int = MOST_TEXT) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger than `most` bytes.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise _too_large(path, most)
        content = file.read(most + 1)
    if len(content) > most:
        raise _too_large(path, most)
    return content


def read_text(path: str | Path, most: int = MOST_TEXT) -> str:
    """The text of a regular file: UTF-8, without a byte order mark, line ends as line feeds.

    Raises:
        OSError: as `read_bytes`.
        UnicodeDecodeError: it is not UTF-8.
    """
    text = read_bytes(path, most).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def lines_of(path: str | Path, most: int = MOST_LINE) -> Iterator[Iterator[bytes]]:
    """The lines of a regular file, read lazily, each with its line break.

    Raises:
        OSError: as `read_bytes`; `most` is the limit for one line.
    """
    with open_regular(path) as file:
        yield _lines(file, path, most)


def _lines(file: BinaryIO, path: str | Path, most: int) -> Iterator[bytes]:
    while line := file.readline(most + 1):
        if len(line) > most:
            raise OSError(errno.EFBIG, f"a line of it is longer than {most // MIB} MiB", str(path))
        yield line


def _check_kind(mode: int, path: str | Path) -> None:
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != stat.S_IFREG:
        file_type = _KINDS.get(kind, "something else")
        raise OSError(errno.EINVAL, f"it is {file_type}; a regular file is needed", str(path))


def _too_large(path: str | Path, most: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {most // MIB} MiB", str(path))
