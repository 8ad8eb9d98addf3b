"""Atomic file writes: a file is complete or unchanged, however the writing process ends.

A file is written under a temporary name in the same folder, synced to disk, and renamed. Meanwhile the temporary file
is locked: an unlocked one was left by a process that died, and the next writer of the same file removes it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

LONGEST = 100  # bytes of a name that are kept in the temporary file's name
LONGEST_NAME = 255  # bytes, the limit of common file systems
TRIED = 4096  # bytes: on a full disk an empty file can still be made


_writes = [True]


def write_nothing() -> None:
    """From now on this process writes no file: another one of the same run does."""
    _writes[0] = False


def is_writing() -> bool:
    """Whether this process writes files, and not another one of the same run."""
    return _writes[0]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to; on exit the file is renamed to `path`.

    The temporary path is in the same folder and has the same suffix. A link is kept, and its target is replaced. A path
    that exists and is not a regular file (`/dev/stdout`, a pipe) cannot be replaced, and is yielded itself.

    Raises:
        OSError: it cannot be written, naming `path`; a previous file is unchanged.
    """
    if not _writes[0]:
        with TemporaryDirectory() as folder:
            yield Path(folder) / path.name
        return
    try:
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            yield path
            return
        _clear(target)
        aside, lock = _unfinished(target)
    except OSError as error:
        raise _of(path, error) from None
    try:
        yield aside
        with suppress(FileNotFoundError):  # a new file keeps the mode that it was created with
            aside.chmod(target.stat().st_mode & 0o7777)
        _to_disk(aside)
        aside.replace(target)
        _to_disk(target.parent)
    except OSError as error:
        if error.filename not in (None, str(aside), aside):
            raise
        raise _of(path, error) from None
    finally:
        aside.unlink(missing_ok=True)
        os.close(lock)


def write_aside(path: Path, text: str) -> None:
    """Write a text atomically: to a temporary file that is then renamed.

    Raises:
        OSError: it cannot be written; a previous file is unchanged.
    """
    with whole_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_whole(path: Path, text: str) -> None:
    """As `write_aside`; the file's folder is created if missing."""
    if _writes[0]:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, text)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file atomically, and sync it to disk.

    Raises:
        OSError: it cannot be written, naming the file; the previous lines are unchanged.
    """
    if not _writes[0]:
        return
    try:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            data = f"{line}\n".encode()
            try:
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise _of(path, error) from None


@contextmanager
def alone_at(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, across threads and processes, for reading and rewriting a file.

    The lock is a file in the same folder, removed afterwards; one left by a process that died blocks nobody.

    Raises:
        OSError: it cannot be locked, naming the file itself.
    """
    if not _writes[0]:
        yield
        return
    lock = path.with_name(f".{_short(path.name)}.alone.lock")
    try:
        handle = _locked(lock)
    except OSError as error:
        raise _of(path, error) from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def make_folder(path: Path) -> None:
    """Create a folder and its parents if missing; the target of a dangling link is created.

    Raises:
        OSError: it cannot be made.
    """
    if _writes[0]:
        Path(os.path.realpath(path)).mkdir(parents=True, exist_ok=True)


def is_there(path: Path) -> bool:
    """Whether a file or folder exists; false for a name that no file system accepts."""
    try:
        return path.exists()
    except OSError:
        return False


def file_name(name: str, suffix: str) -> str:
    """A file name; if it is too long for a file system, its beginning with a hash of the full name."""
    full_name = f"{name}{suffix}"
    if len(os.fsencode(full_name)) <= LONGEST_NAME:
        return full_name
    beginning = os.fsencode(name)[:LONGEST].decode(errors="ignore")
    return f"{beginning}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{suffix}"


def new_folder(path: Path) -> Path:
    """Create a new folder, under another name such as `run~2` if the name is taken.

    Raises:
        OSError: it cannot be created.
    """
    if not _writes[0]:
        return path
    make_folder(path.parent)
    made, number = path, 1
    while True:
        try:
            made.mkdir()
        except FileExistsError:
            number += 1
            made = path.with_name(f"{path.name}~{number}")
        else:
            _to_disk(path.parent)
            return made


def try_file(path: Path) -> None:
    """Check before a computation that its result can be written to a file; the check leaves nothing behind.

    Missing folders may be created later; the check writes a block of data into the nearest existing one.

    Raises:
        OSError: it cannot be written, naming the file.
    """
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if target.exists() and not target.is_file():
            return
        _try(target.parent, target.name)
    except OSError as error:
        raise _of(path, error) from None


def try_folder(path: Path) -> None:
    """Check before a computation that files can be created in a folder, which may not exist yet.

    Raises:
        OSError: they cannot be created, naming the folder.
    """
    try:
        _try(Path(os.path.realpath(path)), "trial")
    except OSError as error:
        raise _of(path, error) from None


def _try(folder: Path, name: str) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if _is_there(parent))
    _clear(existing / name)
    aside, lock = _unfinished(existing / name)
    try:
        os.write(lock, bytes(TRIED))
        os.fsync(lock)
    finally:
        aside.unlink(missing_ok=True)
        os.close(lock)


def _is_there(path: Path) -> bool:
    """As `exists`, but a name that is too long or lies below a file is an error, not a missing file."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _unfinished(target: Path) -> tuple[Path, int]:
    """A new temporary file in the folder of `target`, locked for as long as the handle is open."""
    while True:
        aside = target.with_name(
            f".{_short(target.stem)}.{uuid.uuid4().hex}.partial{target.suffix[:LONGEST]}"
        )
        handle = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            locked = _lock(handle)
        except OSError:  # a file system without locks: no file there ever counts as abandoned
            locked = True
        if locked and _is_at(handle, aside):
            return aside, handle
        os.close(handle)  # another process removed it as abandoned before it was locked


def clear_left(folder: Path) -> None:
    """Remove what dead processes left in a folder: partial files and locks.

    Raises:
        OSError: the folder cannot be read.
    """
    _clear_matching(folder, r"\..+\.[0-9a-f]{32}\.partial(\..+)?|\..+\.alone\.lock")


def _clear(target: Path) -> None:
    """Remove the partial files of `target` that dead processes left."""
    beginning, end = re.escape(f".{_short(target.stem)}."), re.escape(f".partial{target.suffix[:LONGEST]}")
    _clear_matching(target.parent, f"{beginning}[0-9a-f]{{32}}{end}")


def _clear_matching(folder: Path, pattern: str) -> None:
    """Remove the unlocked files whose names match a pattern."""
    ours = re.compile(pattern)
    with os.scandir(folder) as entries:
        left = [entry.path for entry in entries if ours.fullmatch(entry.name)]
    for aside in left:
        with suppress(OSError):
            handle = os.open(aside, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _lock(handle):
                    Path(aside).unlink()
            finally:
                os.close(handle)


def _lock(handle: int) -> bool:
    """Lock an open file; whether that succeeded."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _locked(lock: Path) -> int:
    """Wait for a lock file; its previous holder removed it, so the path may lead to a new file by then."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_at(handle, lock):
            return handle
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _to_disk(path: Path) -> None:
    """Sync a file, or the entries of a folder, to disk; some file systems do not support that for folders."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _short(name: str) -> str:
    """A part of a name, or its hash if the name is too long to be extended."""
    data = os.fsencode(name)
    return name if len(data) <= LONGEST else hashlib.sha256(data).hexdigest()[:32]


def _of(path: Path, error: OSError) -> OSError:
    """The error with the path of the user's file instead of the temporary one."""
    if error.errno is None:
        return error
    return OSError(error.errno, error.strerror, str(path))
