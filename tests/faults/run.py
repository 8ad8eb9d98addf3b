"""Kills commands at random moments, runs them where nothing can be written, and writes what came of it.

make faults
python -m tests.faults.run --kills 20 --only "train sft; a full disk"
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from lazarus_probe.files.whole_files import write_aside
from lazarus_probe.statistics.intervals import exact
from tests.faults.kills import Outcome, kill_at_random
from tests.faults.places import PLACES, write_at
from tests.faults.processes import ROOT
from tests.faults.scenes import SCENES

PAGE = ROOT / "docs" / "reliability.md"
NAMES = [*SCENES, *PLACES]
FULL = 100  # kills of each command; a run of fewer leaves the page as it is
HEAD = "| what | kills | runs | runs that lost something |\n| --- | --- | --- | --- |"
MARK = "<!-- written by `make faults` -->"


def outcomes(names: Sequence[str], kills: int, seed: int) -> Iterator[Outcome]:
    """Every scene and place of those names, told while it goes on."""
    for name in names:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            place = Path(folder)
            one = (
                kill_at_random(SCENES[name], kills, place, seed) if name in SCENES else write_at(name, place)
            )
        print(f"{name}: {len(one.problems)} problems, {(time.monotonic() - began) / 60:.1f} min", flush=True)
        for problem in one.problems:
            print(f"    {problem}", flush=True)
        yield one


def row(one: Outcome) -> str:
    """An outcome as a row of Markdown: of kills with the exact interval of the share of runs that lost something."""
    bad = len({problem.partition(":")[0] for problem in one.problems})
    share = str(bad)
    if one.kills:
        interval = exact(bad, one.runs)
        share = f"{bad} [{interval.low:.2f}, {interval.high:.2f}]"
    return f"| {one.scene} | {one.kills or ''} | {one.runs} | {share} |"


def put_row(page: str, one: Outcome) -> str:
    """The page with this outcome in the place of an earlier one of its name; rows stand in the order of `NAMES`."""
    before, _, after = page.partition(MARK)
    rows = {line.split("|")[1].strip(): line for line in after.splitlines() if line.startswith("| ")}
    rows[one.scene] = row(one)
    lines = [HEAD, *(rows[name] for name in NAMES if name in rows)]
    return f"{before}{MARK}\n\n" + "\n".join(lines) + "\n"


def main() -> int:
    """The exit code: 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=FULL, help="of each command at least")
    parser.add_argument("--only", default="", help="names, separated by semicolons")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    names = [name.strip() for name in arguments.only.split(";") if name.strip()] or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"no {unknown[0]!r}; there are {'; '.join(NAMES)}")
    problems = 0
    for one in outcomes(names, arguments.kills, arguments.seed):
        problems += len(one.problems)
        print(row(one), flush=True)
        if arguments.kills >= FULL:
            write_aside(PAGE, put_row(PAGE.read_text(encoding="utf-8"), one))
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())
