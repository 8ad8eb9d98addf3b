"""Writes hypotheses/costs.json: the seconds that each claim took, which `lazarus test` expects its time from.

pytest hypotheses/ --model organism --junitxml organism.xml
pytest hypotheses/ --model smollm2 --junitxml smollm2.xml
python tests/hypotheses/costs.py organism.xml smollm2.xml

Of several runs the last one counts in which the claim was decided and not skipped; a claim in none keeps its seconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from lazarus_probe.claims.library import COSTS, library, library_folder, measured_costs


def seconds_by_test(file: Path) -> dict[tuple[str, str], float]:
    """By file and test, summed over its cases, the seconds of a run; tests that were skipped are left out."""
    seconds: dict[tuple[str, str], float] = {}
    for case in ElementTree.parse(file).iter("testcase"):
        skipped = case.find("skipped")
        if skipped is not None and "not applicable" in (skipped.get("message") or ""):
            continue
        key = case.attrib["classname"].rpartition(".")[2], case.attrib["name"].partition("[")[0]
        seconds[key] = seconds.get(key, 0.0) + float(case.attrib["time"])
    return seconds


def costs(files: Sequence[Path], before: dict[str, float]) -> dict[str, float]:
    """The seconds of every claim that some run decided, or that were known before."""
    known, items = dict(before), library()
    for file in files:
        seconds = seconds_by_test(file)
        for item in items:
            if (item.file.stem, item.test) in seconds:
                known[item.claim.id] = round(seconds[item.file.stem, item.test], 1)
    return {claim: known[claim] for claim in sorted(known)}


if __name__ == "__main__":
    path = library_folder() / COSTS
    measured = costs([Path(name) for name in sys.argv[1:]], measured_costs())
    path.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print(f"{path.name}: {len(measured)} claims, {sum(measured.values()):.0f} seconds")
