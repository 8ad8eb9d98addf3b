"""Files that are there whole or not at all, whatever ends the process that writes them.

A file is written under a name of its own beside its place, brought to the disk, and renamed. While that lasts the
unfinished file is locked: one that nobody has locked was left by a process that died, and the next writer of the same
file takes it away.
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

LONGEST = 100  # bytes of a name that the unfinished file's repeats
LONGEST_NAME = 255  # bytes that a file system takes
TRIED = 4096  # bytes: on a full disk an empty file can still be made


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write a file, by whatever means; once that is done it stands under its own name.

    What is yielded lies beside the file and has its suffix. A link stays one: what it leads to is replaced. What is no
    regular file (`/dev/stdout`, a pipe) cannot be replaced, and is itself what is yielded.

    Raises:
        OSError: it cannot be written, naming the file itself; what stood there before still does.
    """
    try:
        place = Path(os.path.realpath(path))
        if place.exists() and not place.is_file():
            yield path
            return
        _clear(place)
        aside, lock = _unfinished(place)
    except OSError as error:
        raise _of(path, error) from None
    try:
        yield aside
        with suppress(FileNotFoundError):  # a new file has the mode that its maker gave it
            aside.chmod(place.stat().st_mode & 0o7777)
        _to_disk(aside)
        aside.replace(place)
        _to_disk(place.parent)
    except OSError as error:
        if error.filename not in (None, str(aside), aside):
            raise
        raise _of(path, error) from None
    finally:
        aside.unlink(missing_ok=True)
        os.close(lock)


def write_aside(path: Path, text: str) -> None:
    """Write a text beside its place and rename it, so that what stands under the name is whole.

    Raises:
        OSError: it cannot be written; what stood there before still does.
    """
    with whole_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_whole(path: Path, text: str) -> None:
    """As `write_aside`; the file's folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, text)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, whole or not at all, and bring it to the disk.

    Raises:
        OSError: it cannot be written, naming the file; the lines before it stay.
    """
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
    """Be the only one, of all threads and processes that ask so, to read a file and write it anew.

    The lock is a file beside it, which is gone afterwards; one that a process left which died holds nobody up.

    Raises:
        OSError: it cannot be locked, naming the file itself.
    """
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
    """Make a folder, and those above it, unless it is there; a link that leads nowhere leads to it then.

    Raises:
        OSError: it cannot be made.
    """
    Path(os.path.realpath(path)).mkdir(parents=True, exist_ok=True)


def is_there(path: Path) -> bool:
    """Whether there is a file or a folder; there is none under a name that no file system takes."""
    try:
        return path.exists()
    except OSError:
        return False


def file_name(name: str, suffix: str) -> str:
    """The name of a file; where no file system would take it, its beginning, with a hash of all of it."""
    whole = f"{name}{suffix}"
    if len(os.fsencode(whole)) <= LONGEST_NAME:
        return whole
    beginning = os.fsencode(name)[:LONGEST].decode(errors="ignore")
    return f"{beginning}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{suffix}"


def new_folder(path: Path) -> Path:
    """Make a folder that was not there: under another name, as in `run~2`, where this one is taken.

    Raises:
        OSError: it cannot be made.
    """
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
    """Find out before the work whether its result can be kept in a file; nothing of the trial stays.

    Folders that are missing may be made later; the trial is a block of data in the nearest one that is there.

    Raises:
        OSError: it cannot, naming the file.
    """
    try:
        place = Path(os.path.realpath(path))
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if place.exists() and not place.is_file():
            return
        _try(place.parent, place.name)
    except OSError as error:
        raise _of(path, error) from None


def try_folder(path: Path) -> None:
    """Find out before the work whether files can be made in a folder, which may itself be still to be made.

    Raises:
        OSError: they cannot, naming the folder.
    """
    try:
        _try(Path(os.path.realpath(path)), "trial")
    except OSError as error:
        raise _of(path, error) from None


def _try(folder: Path, name: str) -> None:
    there = next(each for each in (folder, *folder.parents) if _is_there(each))
    _clear(there / name)
    aside, lock = _unfinished(there / name)
    try:
        os.write(lock, bytes(TRIED))
        os.fsync(lock)
    finally:
        aside.unlink(missing_ok=True)
        os.close(lock)


def _is_there(path: Path) -> bool:
    """As `exists`, but a name that is too long or lies under a file is an error here, not a file that is missing."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _unfinished(place: Path) -> tuple[Path, int]:
    """A new file beside a place, locked for as long as the handle is open."""
    while True:
        aside = place.with_name(f".{_short(place.stem)}.{uuid.uuid4().hex}.partial{place.suffix[:LONGEST]}")
        handle = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            mine = _lock(handle)
        except OSError:  # a file system without locks: nothing is ever taken for one that was left there
            mine = True
        if mine and _is_at(handle, aside):
            return aside, handle
        os.close(handle)  # somebody took it for one that was left, before it was locked


def clear_left(folder: Path) -> None:
    """Take away what processes which died left in a folder: files half-written, and locks on them.

    Raises:
        OSError: the folder cannot be read.
    """
    _clear_matching(folder, r"\..+\.[0-9a-f]{32}\.partial(\..+)?|\..+\.alone\.lock")


def _clear(place: Path) -> None:
    """Take away the unfinished files that processes which died left beside a place."""
    beginning, end = re.escape(f".{_short(place.stem)}."), re.escape(f".partial{place.suffix[:LONGEST]}")
    _clear_matching(place.parent, f"{beginning}[0-9a-f]{{32}}{end}")


def _clear_matching(folder: Path, pattern: str) -> None:
    """Take away the files of such names that nobody has locked."""
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
    """Lock an open file, unless somebody else did."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _locked(lock: Path) -> int:
    """Wait for a lock file; who held it before took it away, so that the one that is there has to be looked for."""
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
    """Bring a file, or the names in a folder, to the disk; some file systems know that of no folder."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _short(name: str) -> str:
    """A part of a name, or its hash where the name is so long that nothing could be added to it."""
    data = os.fsencode(name)
    return name if len(data) <= LONGEST else hashlib.sha256(data).hexdigest()[:32]


def _of(path: Path, error: OSError) -> OSError:
    """The error as one of the user's own file: the unfinished one means nothing to anybody."""
    if error.errno is None:
        return error
    return OSError(error.errno, error.strerror, str(path))
