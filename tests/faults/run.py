"""Kills commands at random moments, runs them where nothing can be written, and writes what came of it.

make faults
python -m tests.faults.run --kills 20 --only "train sft,a full disk"
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lazarus_probe.statistics.intervals import exact
from lazarus_probe.subject.whole_files import write_aside
from tests.faults.kills import Outcome, kill_at_random
from tests.faults.places import PLACES, write_at
from tests.faults.processes import ROOT
from tests.faults.scenes import SCENES

PAGE = ROOT / "docs" / "reliability.md"
MARK = "<!-- written by `make faults` -->"


def outcomes(names: Sequence[str], kills: int, seed: int) -> list[Outcome]:
    """Every scene and place of those names, told while it goes on."""
    found = []
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
        found.append(one)
    return found


def table(found: Sequence[Outcome]) -> str:
    """The outcomes as Markdown: of kills with the exact interval of the share of runs that lost something."""
    lines = ["| what | kills | runs | runs that lost something |", "| --- | --- | --- | --- |"]
    for one in found:
        bad = len({problem.partition(":")[0] for problem in one.problems})
        share = str(bad)
        if one.kills:
            interval = exact(bad, one.runs)
            share = f"{bad} [{interval.low:.2f}, {interval.high:.2f}]"
        lines.append(f"| {one.scene} | {one.kills or ''} | {one.runs} | {share} |")
    return "\n".join(lines)


def main() -> int:
    """The exit code: 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100, help="of each command at least")
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    every = [*SCENES, *PLACES]
    names = [name.strip() for name in arguments.only.split(",") if name.strip()] or every
    if unknown := [name for name in names if name not in every]:
        parser.error(f"no {unknown[0]!r}; there are {', '.join(every)}")
    found = outcomes(names, arguments.kills, arguments.seed)
    print(table(found))
    if names == every:
        before, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
        write_aside(PAGE, f"{before}{MARK}\n\n{table(found)}\n")
    return int(any(one.problems for one in found))


if __name__ == "__main__":
    sys.exit(main())
