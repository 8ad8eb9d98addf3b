from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lazarus_probe.files.whole_files import (
    alone_at,
    append_line,
    clear_left,
    new_folder,
    try_file,
    try_folder,
    whole_file,
    write_aside,
)

LONG = "ü" * 120  # 240 bytes


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["a.json", "a", "[a] b.tar.gz", ".hidden", LONG, f"{LONG}.json"])
def test_a_file_is_replaced(tmp_path, name):
    """A text stands under its name, nothing stands beside it, and its mode stays."""
    path = tmp_path / name
    write_aside(path, "old")
    path.chmod(0o640)
    write_aside(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_link_stays_one(tmp_path):
    """What a link leads to is replaced, and not the link."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_aside(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "text"


def test_a_pipe_is_written_to(tmp_path):
    """What is no regular file cannot be replaced: a pipe, or /dev/stdout, gets the text itself."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_aside(tmp_path / "pipe", "text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_a_failure_leaves_what_was_there(tmp_path):
    """Where the writing fails the old text stays, nothing is left, and an error of the disk names the user's file."""
    path = tmp_path / "a.json"
    write_aside(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_aside(path, "ne\ud800")
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*/a\.json'") as caught,
        whole_file(path) as aside,
    ):
        raise OSError(28, "No space left on device", str(aside))
    assert caught.value.filename == str(path)
    assert (path.read_text(), hidden(tmp_path)) == ("old", [])
    with pytest.raises(FileNotFoundError, match=r"nowhere/a\.json"):
        write_aside(tmp_path / "nowhere/a.json", "")


KILLED = """
import os, signal, sys
from pathlib import Path
from lazarus_probe.files.whole_files import alone_at, whole_file
path = Path(sys.argv[1])
with alone_at(path), whole_file(path) as aside:
    aside.write_text("ne")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_goes(tmp_path):
    """What a process left that was killed is taken away by the next writer of the file, and locks nobody out."""
    path = tmp_path / "a.json"
    write_aside(path, "old")
    killed = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(hidden(tmp_path)) == 2
    with alone_at(path):
        write_aside(path, "new")
    assert (path.read_text(), hidden(tmp_path)) == ("new", [])


def test_a_folder_is_cleared(tmp_path):
    """All that killed writers left in a folder goes at once; what is being written, and what is not ours, stays."""
    for name in ("a.json", "b", "c.tar.gz"):
        subprocess.run([sys.executable, "-c", KILLED, tmp_path / name], check=False)
    (tmp_path / ".mine.partial").touch()
    with alone_at(tmp_path / "d"), whole_file(tmp_path / "d") as aside:
        before = {*hidden(tmp_path)}
        clear_left(tmp_path)
        kept = {*hidden(tmp_path)}
        aside.touch()
    assert len(before) == 9
    assert kept == {".mine.partial", ".d.alone.lock", aside.name}


def test_what_another_is_writing_stays(tmp_path):
    """Of writers of one file at once all succeed: none takes away what another is writing."""
    path = tmp_path / "a.json"
    with whole_file(path) as first:
        first.write_text("first")
        write_aside(path, "second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    errors = []

    def write(text):
        try:
            for _ in range(20):
                write_aside(path, text)
        except OSError as error:
            errors.append(error)

    texts = [f"{i}" * 100_000 for i in range(4)]
    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, hidden(tmp_path)) == ([], [])
    assert path.read_text() in texts


def test_one_at_a_time(tmp_path):
    """Threads that count in a file under its lock lose no count."""
    path = tmp_path / "count"
    path.write_text("0")

    def count():
        for _ in range(25):
            with alone_at(path):
                path.write_text(str(int(path.read_text()) + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (path.read_text(), hidden(tmp_path)) == ("100", [])


def test_a_line_is_whole_or_not_there(tmp_path, monkeypatch):
    """A line that cannot be brought to the disk leaves those before it as they were."""
    path = tmp_path / "run.jsonl"
    append_line(path, "one")
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(OSError, match=r"No space left on device: '.*run\.jsonl'"):
        append_line(path, "two")
    monkeypatch.undo()
    append_line(path, "three")
    assert path.read_text() == "one\nthree\n"


def _no_space(handle):
    raise OSError(28, "No space left on device")


def test_folders_never_clash(tmp_path):
    """A name that is taken, by a folder or a file, gets a number."""
    (tmp_path / "run~2").touch()
    assert [new_folder(tmp_path / "run").name for _ in range(3)] == ["run", "run~3", "run~4"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("/proc/nope/x.json", FileNotFoundError),
        ("file/x.json", NotADirectoryError),
        ("folder", IsADirectoryError),
        ("x" * 300, OSError),
    ],
)
def test_a_place_that_cannot_be_written_is_found_first(tmp_path, name, error):
    """The trial names the file that the user gave, and leaves nothing, not even the missing folders."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(error) as caught:
        try_file(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name)
    try_file(tmp_path / "new/er/x.json")
    try_file(tmp_path / "file")
    try_file(Path("/dev/stdout"))
    try_folder(tmp_path / "new/er")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]
