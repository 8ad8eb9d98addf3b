"""Writes docs/real-model.md: every claim on SmolLM2-135M-Instruct and on the organism, and what was published.

pytest hypotheses/ --model smollm2 --probe-update --probe-report build/smollm2
python tests/hypotheses/real_model.py build/smollm2/*/run.json

Of several runs, such as one of the training claims, the reasons of the last one count; of a claim that is in none, the
page keeps the reason that it has.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import table
import yaml

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.library import declared_claims
from lazarus_probe.reports.run_log import read_any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "real-model.md"
BELIEFS = Path(__file__).parent / "beliefs.yaml"
BASELINES = ROOT / "reports" / "baselines"
COLUMNS = ("claim", "published", "on organism", "on SmolLM2", "why")
ORDER = ("supported", "refuted", "confounded", "inconclusive", "not applicable")
LONGEST = 240  # characters of a reason


def render(
    reasons: Mapping[str, str],
    smollm2: Mapping[str, Any],
    organism: Mapping[str, Any],
    kept: Mapping[str, str] | None = None,
) -> str:
    """The page as Markdown.

    Args:
        reasons: of the verdicts on SmolLM2, by case.
        smollm2: its baseline's cases.
        organism: that of the organism.
        kept: reasons by claim, of those that `reasons` has none of.
    """
    beliefs = yaml.safe_load(BELIEFS.read_text(encoding="utf-8"))
    claims = declared_claims()
    families: dict[str, list[Claim]] = {}
    for claim in claims.values():
        families.setdefault(claim.family, []).append(claim)
    parts = [beliefs["head"], counts(smollm2, organism)]
    for family in sorted(families):
        rows = [
            row(claim, reasons, smollm2, organism, (kept or {}).get(claim.id, ""))
            for claim in sorted(families[family], key=lambda claim: claim.id)
        ]
        lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
        text = beliefs["families"].get(family, "")
        parts.append(
            f"## {family}\n\n{text}{chr(10) if text else ''}" + "\n".join(map(table.line, lines)) + "\n"
        )
    return "\n".join(parts)


def counts(smollm2: Mapping[str, Any], organism: Mapping[str, Any]) -> str:
    """How many cases had which outcome on either model."""
    by_model = [Counter(record["outcome"] for record in cases.values()) for cases in (smollm2, organism)]
    rows = [(outcome, *(str(outcomes[outcome]) for outcomes in by_model)) for outcome in ORDER]
    total = ("cases", *(str(len(cases)) for cases in (smollm2, organism)))
    return "\n".join(map(table.line, [("outcome", "SmolLM2", "organism"), ["---"] * 3, *rows, total])) + "\n"


def row(
    claim: Claim,
    reasons: Mapping[str, str],
    smollm2: Mapping[str, Any],
    organism: Mapping[str, Any],
    kept: str = "",
) -> Sequence[str]:
    """One claim's cells."""
    texts = [reasons[key] for key in cases_of(claim.id, smollm2) if key in reasons]
    several = "; ".join(dict.fromkeys(map(_short, texts)))[:LONGEST] if texts else kept
    return (
        f"`{claim.id}`",
        table.published(claim),
        verdict(claim.id, organism),
        verdict(claim.id, smollm2),
        _short(texts[0]) if len(texts) == 1 else several,
    )


def without_reasons(page: str) -> str:
    """The page as its baselines and beliefs make it: the reasons in the last column are of a run, which is not kept."""
    rows = [line.split(" | ") if line.startswith("| ") else [line] for line in page.splitlines()]
    return "\n".join(" | ".join(row[:4] if len(row) > 4 else row) for row in rows)


def reasons_on(page: str) -> dict[str, str]:
    """What a page says in its last column, by claim."""
    rows = [line.removesuffix(" |").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    return {row[0].strip("| `"): row[4] for row in rows if len(row) == len(COLUMNS)}


def cases_of(name: str, cases: Mapping[str, Any]) -> list[str]:
    """The cases of a claim."""
    return [key for key in cases if key.partition("[")[0] == name]


def verdict(name: str, cases: Mapping[str, Any]) -> str:
    """A claim's outcomes with its score, or the range of its scores."""
    records = [cases[key] for key in cases_of(name, cases)]
    scores = sorted(record["score"] for record in records if record.get("score") is not None)
    outcome = table.verdicts(name, cases)
    if not scores:
        return outcome
    if len(scores) > 1:
        return f"{outcome}, {scores[0]:.2f} to {scores[-1]:.2f}"
    (scored,) = (record for record in records if record.get("score") is not None)
    return f"{outcome}, {scored['score']:.2f} [{scored['low']:.2f}, {scored['high']:.2f}]"


def baseline(model: str) -> dict[str, Any]:
    """The cases of a model's baseline."""
    cases: dict[str, Any] = json.loads((BASELINES / f"{model}.json").read_text(encoding="utf-8"))["claims"]
    return cases


def _short(reason: str) -> str:
    """The first part of a reason, up to where it says what was not run or how many more groups would do."""
    first = reason.partition("; ")[0]
    return first if len(first) <= LONGEST else f"{first[: LONGEST - 3]}..."


if __name__ == "__main__":
    verdicts = {record.key: record.reason for run in sys.argv[1:] for record in read_any(Path(run)).claims}
    before = reasons_on(DOCS.read_text(encoding="utf-8"))
    DOCS.write_text(render(verdicts, baseline("smollm2"), baseline("organism"), before), encoding="utf-8")
    print(f"{DOCS.relative_to(ROOT)}: {len(verdicts)} cases")
