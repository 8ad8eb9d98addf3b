"""Gives hostile inputs to commands and readers, one after another, and says what came of each.

python hostile_worker.py SCRATCH reads numbers of inputs from standard input, and writes a line of JSON for each.
Whoever starts it watches its time and memory, and starts another where it dies.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import hostile_adapters
import hostile_files
import hostile_folders
import readers
from hostile import RAN, Hostile

GENERATE = ["introspect", "generate", "-p", "7 * 8 = ", "-n", "1"]
ADDRESSES = 3 << 30  # a process that has loaded a model spans one


def inputs() -> list[Hostile]:
    """All hostile inputs, in their order."""
    return hostile_folders.folders() + hostile_files.files()


def put(one: Hostile, place: Path) -> Callable[[], int]:
    """Write an input, and return what reads it as a command does: its exit code, an error in one line."""
    from lazarus_probe.cli.lazarus import main

    model = place / "model"
    if one.reader in ("generate", "adapter"):
        hostile_folders.checkpoint(model)
    if one.reader == "generate":
        one.put(model)
        return lambda: main([*GENERATE, "-m", str(model)])
    if one.reader == "adapter":
        hostile_adapters.adapter(place / "adapter")
        one.put(place / "adapter")
        return lambda: main([*GENERATE, "-m", str(model), "-a", str(place / "adapter")])
    reader = next(each for each in readers.READERS if each.name == one.reader)
    one.put(place / reader.name)
    return lambda: _read(reader, place / reader.name)


def _read(reader: readers.Reader, path: Path) -> int:
    from lazarus_probe.cli.run import USER_ERRORS, describe

    try:
        reader.read(path)
    except USER_ERRORS as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        return 2
    return 0


def outcome(one: Hostile, place: Path) -> dict[str, object]:
    """What came of an input: exit code or traceback, standard error, whether its code ran, the most memory."""
    read = put(one, place)
    os.chdir(place)
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as typed:
        typed.write(b"y\n" * 100)
        typed.seek(0)
        kept = [os.dup(number) for number in (0, 2)]
        os.dup2(typed.fileno(), 0)
        os.dup2(errors.fileno(), 2)
        code: int | str
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those of libraries, on what is odd
                code = read()
        except BaseException:
            code = traceback.format_exc()[-1500:]
        finally:
            sys.stderr.flush()
            for number, before in zip((0, 2), kept, strict=True):
                os.dup2(before, number)
                os.close(before)
        errors.seek(0)
        said = errors.read(4000).decode("utf-8", "replace")
    return {
        "code": code,
        "errors": said,
        "ran": (place / RAN).exists(),
        "peak": _peak(),
    }


def _peak() -> int:
    """The most memory of this process, in bytes.

    Linux counts in `ru_maxrss` what the process that started this one held, so that it is read elsewhere.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _warm(scratch: Path) -> None:
    """Import what loading takes, which is no input's time; what all inputs are made from is taken."""
    place = Path(tempfile.mkdtemp(dir=scratch))
    nothing = Hostile("", "", lambda _: None, "adapter")
    assert put(nothing, place)() == 0


def main() -> None:
    """Take numbers until there are no more."""
    scratch, everything = Path(sys.argv[1]), inputs()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    _warm(scratch)
    answers.write("{}\n")
    answers.flush()
    for line in iter(sys.stdin.readline, ""):
        place = Path(tempfile.mkdtemp(dir=scratch))
        try:
            answer = outcome(everything[int(line)], place)
        finally:
            os.chdir(scratch)
            shutil.rmtree(place, ignore_errors=True)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
