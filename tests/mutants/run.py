"""Puts each fault of mutants.yaml into a copy of the package, and says which test catches it: `make faults-caught`.

python -m tests.mutants.run [WORD] takes the faults whose sentence holds the word, all of them by default.

The checkout itself is never changed. A fault counts as caught by a test that fails with it and passes without it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("mutants.yaml")
COPIED = ("lazarus_probe", "tests", "hypotheses", "docs", "pyproject.toml", "README.md")
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """A fault.

    Attributes:
        fault: in a sentence.
        file: of the package that it is in.
        old: the text there that is right.
        new: what makes it wrong.
        tests: files and folders of tests, one of which must fail.
    """

    fault: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def mutants() -> list[Mutant]:
    """The rows of the table."""
    rows = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return [Mutant(**{**row, "tests": tuple(row["tests"])}) for row in rows]


def copy_of_checkout(folder: Path) -> Path:
    """A copy of what tests need, in a folder."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def caught_by(mutant: Mutant, copy: Path) -> str | None:
    """The test that fails with the fault and passes without it; the copy is afterwards as it was.

    Raises:
        ValueError: the text that is right is not there once, or the test fails without the fault too.
    """
    file = copy / "lazarus_probe" / mutant.file
    right = file.read_text(encoding="utf-8")
    if right.count(mutant.old) != 1:
        raise ValueError(
            f"{mutant.file} has {mutant.old!r} {right.count(mutant.old)} times: mend {TABLE.name}"
        )
    file.write_text(right.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        failed = FAILED.search(_pytest(copy, "-x", *mutant.tests))
    finally:
        file.write_text(right, encoding="utf-8")
    if failed is None:
        return None
    if (other := FAILED.search(_pytest(copy, failed[1]))) is not None:
        raise ValueError(f"{other[1]} fails without the fault, too")
    return failed[1]


def _pytest(copy: Path, *arguments: str) -> str:
    """What pytest prints on the copy."""
    command = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-q",
        "--tb=no",
        "-rfE",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {"PYTHONPATH": str(copy), "COLUMNS": "400"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise ValueError(f"pytest ends with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def main(word: str = "") -> int:
    """Print the table; the exit code is 1 if a fault was not caught."""
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of_checkout(Path(folder))
        print("| fault | file | caught by |\n| --- | --- | --- |")
        for mutant in (mutant for mutant in mutants() if word in mutant.fault):
            test = caught_by(mutant, copy)
            missed += test is None
            print(
                f"| {mutant.fault} | {mutant.file} | {f'`{test}`' if test else '**nothing**'} |", flush=True
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
