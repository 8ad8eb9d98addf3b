"""How many files of the package a reader crosses who follows a call, and how often the path climbs back.

A path is the sequence of named functions in the order of their first calls, as `sys.setprofile` sees them;
comprehensions and lambdas belong to the function that holds them, and what importing runs is left out. `files` counts
the different files along the path. `climbs` counts the steps into a file that the path had been in before and left:
who reads downwards, from a function to those that it calls in turn, has to go back there.

    python tests/paths_crossed.py [PATH]    prints the counts, and each function along PATH
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import lazarus_probe
from lazarus_probe import ProbeDataset, Subject, probe
from lazarus_probe.cli import lazarus
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.sweep import Donors, logit_diff, sweep
from lazarus_probe.training.sft.config import SftConfig
from lazarus_probe.training.sft.setup import prepare

ROOT = f"{Path(str(lazarus_probe.__file__)).parent}/"


class Step(NamedTuple):
    """A function along a path."""

    file: str
    function: str


class Counts(NamedTuple):
    """What a path costs its reader."""

    files: int
    climbs: int


def path_of(run: Callable[[], object]) -> list[Step]:
    """The functions of the package that a call runs, each where it is first called."""
    steps: dict[tuple[str, int], Step] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        named = code.co_flags & CO_OPTIMIZED and not code.co_name.startswith(
            "<"
        )  # neither a class nor a module
        if event != "call" or not named or not code.co_filename.startswith(ROOT):
            return
        file = code.co_filename.removeprefix(ROOT)
        if (file, code.co_firstlineno) not in steps and not _importing(frame):
            steps[file, code.co_firstlineno] = Step(file, code.co_name)

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return list(steps.values())


def _importing(frame: FrameType | None) -> bool:
    """Whether a module of the package is being imported."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(ROOT):
            return True
        frame = frame.f_back
    return False


def counts(path: list[Step]) -> Counts:
    """Files crossed and climbs back along a path."""
    files = [step.file for step in path]
    entered = [file for index, file in enumerate(files) if index == 0 or files[index - 1] != file]
    return Counts(len(set(files)), len(entered) - len(set(files)))


def _load() -> Callable[[], object]:
    return lambda: Subject.load("organism")


def _patch() -> Callable[[], object]:
    prompts = ["-s", "7*8=", "-t", "7+8=", "--layers", "0,5", "-n", "2"]

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            lazarus.main(["introspect", "patch", "-m", "organism", *prompts])

    return run


def _sweep() -> Callable[[], object]:
    subject, metric = Subject.load("organism"), logit_diff("56", "15")
    sites, sources = [resid_post(0), resid_post(5)], {"donor": Donors(["7*8="])}
    return lambda: sweep(subject, ["7+8="], sites, sources=sources, metrics=[metric])


def _probe() -> Callable[[], object]:
    facts = [(a, operation, b) for a in range(2, 10) for b in range(2, 10) for operation in "*+"]
    dataset = ProbeDataset(
        [f"{a}{operation}{b}=" for a, operation, b in facts],
        [operation for _, operation, _ in facts],
        [f"{min(a, b)},{max(a, b)}" for a, _, b in facts],
    )
    subject = Subject.load("organism")
    untrained = control_models(subject)
    return lambda: probe(subject, untrained, dataset, resid_post(3))


def _train() -> Callable[[], object]:
    folder = Path(tempfile.mkdtemp())
    data = folder / "data.jsonl"
    rows = [{"prompt": f"{a}*{b}=", "response": str(a * b)} for a in range(2, 9) for b in range(2, 9)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = SftConfig(model="organism", data=data, output=folder / "run", use_lora=True)
    return lambda: prepare(config)


# Each makes what its path needs, which is not part of the path, and returns the call that is followed.
PATHS: dict[str, Callable[[], Callable[[], object]]] = {
    "load": _load,
    "probe": _probe,
    "sweep": _sweep,
    "introspect patch": _patch,
    "train sft": _train,
}


def main() -> None:
    """Print the counts of every path, or those of the one that is named with the functions along it."""
    names = sys.argv[1:]
    for name in names or PATHS:
        path = path_of(PATHS[name]())
        files, climbs = counts(path)
        print(f"{name:18} {files:3} files {climbs:4} climbs", flush=True)
        for step in path if names else ():
            print(f"    {step.file} {step.function}")


if __name__ == "__main__":
    main()
