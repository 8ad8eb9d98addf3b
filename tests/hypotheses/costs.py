"""Writes hypotheses/costs.json: by model the seconds that each claim took, which a run expects its time from.

pytest hypotheses/ --model organism --junitxml organism.xml
pytest hypotheses/ --model smollm2 --junitxml smollm2.xml
python tests/hypotheses/costs.py organism.xml smollm2.xml

The runs have a core for each process. Of several on a model the last one counts in which the claim was decided and not
skipped; a claim in none keeps its seconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from lazarus_probe.claims.library import COSTS, library, library_folder


def seconds_by_test(file: Path) -> dict[tuple[str, str, str], float]:
    """By model, file and test, summed over its cases, the seconds of a run; tests that were skipped are left out."""
    seconds: dict[tuple[str, str, str], float] = {}
    for case in ElementTree.parse(file).iter("testcase"):
        skipped = case.find("skipped")
        if skipped is not None and "not applicable" in (skipped.get("message") or ""):
            continue
        model = case.find("properties/property[@name='model']")
        if model is None:  # it broke
            continue
        file_name, test = case.attrib["classname"].rpartition(".")[2], case.attrib["name"].partition("[")[0]
        key = model.attrib["value"], file_name, test
        seconds[key] = seconds.get(key, 0.0) + float(case.attrib["time"])
    return seconds


def costs(files: Sequence[Path], before: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """By model the seconds of every claim that some run decided, or that were known before."""
    known = {model: dict(claims) for model, claims in before.items()}
    claims = {(item.file.stem, item.test): item.claim.id for item in library()}
    for file in files:
        for (model, *test), seconds in seconds_by_test(file).items():
            if tuple(test) in claims:
                known.setdefault(model, {})[claims[tuple(test)]] = round(seconds, 1)
    return {
        model: {claim: of_model[claim] for claim in sorted(of_model)} for model, of_model in known.items()
    }


if __name__ == "__main__":
    path = library_folder() / COSTS
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    measured = costs([Path(name) for name in sys.argv[1:]], before)
    path.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    for model, of_model in measured.items():
        print(f"{model}: {len(of_model)} claims, {sum(of_model.values()):.0f} seconds")
