"""Places where nothing can be kept, and names that are hard to keep: what a command must say, and what must work."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.kills import Outcome
from tests.faults.processes import ROOT
from tests.faults.scenes import SCENES, Problems

ODD = "a folder [with] 'odd' characters, and a long name " + "x" * 150
OPEN_FILES = 64
DISK = 2**20
DROP_CAPABILITY, WRITE_ANYWHERE = 24, 1  # PR_CAPBSET_DROP and CAP_DAC_OVERRIDE of Linux
LIMIT = 600

LAZARUS = (sys.executable, "-m", "lazarus_probe.cli.lazarus")
PYTEST = (sys.executable, "-m", "pytest")
# One of each kind of thing that is written: a model, an adapter, a lens, JSON, a direction, activations, reports.
WRITERS: Mapping[str, tuple[str, ...]] = {
    "organism train": (*LAZARUS, *SCENES["organism train"].command[1:]),
    "train sft": (*LAZARUS, *SCENES["train sft"].command[1:]),
    "train grpo": (*LAZARUS, *SCENES["train grpo"].command[1:]),
    "tuned-lens train": (*LAZARUS, *SCENES["tuned-lens train"].command[1:]),
    "logit-lens -o": (
        *(*LAZARUS, "introspect", "logit-lens", "-m", "organism-early", "-p", "7*8="),
        *("-o", "out/lens.json"),
    ),
    "pytest --probe-save": (
        *(*PYTEST, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--probe-model", "organism-early"),
        *("--probe-report", "out", "--probe-save", "kept", "test_claims.py"),
    ),
}
# Writers that read what a scene of another name does; one that has none reads nothing.
READS = {"pytest --probe-save": "pytest -n 2 --probe-save"}


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code and what it said at last."""

    code: int
    words: str

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.words or "INTERNALERROR" in self.words


def call(
    command: Sequence[str],
    folder: Path,
    changes: Mapping[str, str | None] | None = None,
    ordinary: bool = False,
    open_files: int | None = None,
) -> Ended:
    """Run a command to its end.

    Args:
        command: with its program.
        folder: where it runs.
        changes: of the environment; None takes a name away.
        ordinary: whether permissions bind the process, which they do not for root.
        open_files: at most.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name, value in (changes or {}).items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value

    def limit() -> None:
        if ordinary:
            ctypes.CDLL(None).prctl(DROP_CAPABILITY, WRITE_ANYWHERE, 0, 0, 0)
        if open_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))

    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        preexec_fn=limit,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LIMIT,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(errors="replace").strip())


@contextmanager
def small_disk(folder: Path, free: int) -> Iterator[bool]:
    """A file system of 1 MiB in a folder, with so many bytes free; whether it could be had."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder)]
    mounted = (
        shutil.which("mount") is not None
        and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    try:
        if mounted:
            (folder / "filler").write_bytes(bytes(DISK - free))
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def prepared(folder: Path, writer: str) -> Path:
    """A folder with what a writer reads."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = SCENES.get(READS.get(writer, writer))
    if scene is not None:
        scene.prepare(folder)
    return folder


def refused(name: str, ended: Ended, where: str, reason: int) -> Problems:
    """What is wrong with the way a command says that it cannot write, which is to name the reason (of errno)."""
    last = ended.words.splitlines()[-1] if ended.words else "nothing"
    if ended.traceback:
        return [f"{name}: a traceback, where {where}"]
    if ended.code in (0, -9):
        return [f"{name}: exit {ended.code}, where {where}: {last}"]
    if os.strerror(reason) not in ended.words:
        return [f"{name}: does not say why, where {where}: {last}"]
    return [f"{name}: names an unfinished file, where {where}: {last}"] if ".partial" in ended.words else []


def works(name: str, ended: Ended, where: str) -> Problems:
    """What is wrong with a command that should not mind."""
    ok = (0, 1) if name.startswith("pytest") else (0,)
    if ended.traceback or ended.code not in ok:
        last = ended.words.splitlines()[-1] if ended.words else "nothing"
        return [f"{name}: exit {ended.code}, where {where}: {last}"]
    return []


def full_disk(folder: Path) -> Problems:
    """A disk that is full from the start, and one that gets full while the command writes."""
    problems = Problems()
    for name, command in WRITERS.items():
        for free in (0, 2**14, 2**17):
            run = prepared(folder / f"{name.replace(' ', '-')}-{free}", name)
            with small_disk(run / "out", free) as mounted:
                if not mounted:
                    raise OSError("no file system can be mounted here")
                ended = call(command, run)
                if free and ended.code in (0, 1) and not ended.traceback:
                    continue  # what it writes is small enough
                problems += refused(name, ended, f"the disk has {free} bytes", errno.ENOSPC)
                left = [path for path in (run / "out").rglob("*") if "partial" in path.name]
                problems += [f"{name}: {path.name} was left on a full disk" for path in left]
    return problems


def read_only(folder: Path) -> Problems:
    """A folder that an ordinary user may read and not write."""
    problems = Problems()
    for name, command in WRITERS.items():
        run = prepared(folder / name.replace(" ", "-"), name)
        (run / "out").mkdir()
        for path in (run / "out", run):
            path.chmod(0o555)
        ended = call(command, run, ordinary=True)
        problems += refused(name, ended, "the folder cannot be written to", errno.EACCES)
    return problems


def few_files(folder: Path) -> Problems:
    """64 open files at most."""
    return _all_work(folder, f"{OPEN_FILES} files may be open", open_files=OPEN_FILES)


def no_home(folder: Path) -> Problems:
    """No HOME, and a TMPDIR that is not there."""
    gone = {"HOME": None, "TMPDIR": str(folder / "gone")}
    return _all_work(folder, "there is no HOME and no TMPDIR", changes=gone)


def ascii_locale(folder: Path) -> Problems:
    """A locale that has ASCII alone."""
    changes = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return _all_work(folder, "the locale is ASCII", changes=changes)


def odd_paths(folder: Path) -> Problems:
    """Brackets, spaces, quotes and 200 characters in a path."""
    return _all_work(folder / ODD, "the path is odd and long")


def _all_work(
    folder: Path, where: str, changes: Mapping[str, str | None] | None = None, open_files: int | None = None
) -> Problems:
    problems = Problems()
    for name, command in WRITERS.items():
        run = prepared(folder / name.replace(" ", "-"), name)
        problems += works(name, call(command, run, changes, open_files=open_files), where)
    return problems


PLACES: Mapping[str, Callable[[Path], Problems]] = {
    "a full disk": full_disk,
    "a read-only folder": read_only,
    f"{OPEN_FILES} open files": few_files,
    "no HOME, TMPDIR gone": no_home,
    "an ASCII locale": ascii_locale,
    "odd and long paths": odd_paths,
}


def write_at(place: str, folder: Path) -> Outcome:
    """Every writer at a place."""
    return Outcome(place, 0, len(WRITERS), tuple(PLACES[place](folder)))
