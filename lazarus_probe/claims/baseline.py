"""Baselines: the verdicts kept for one model version, against which a later run of it is tested."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lazarus_probe.claims.claim import ClaimError
from lazarus_probe.claims.record import ClaimRecord, Known
from lazarus_probe.claims.verdict import Outcome


class Baseline(BaseModel):
    """What is known of one model: by fingerprint, under one seed."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    model: str
    fingerprint: str
    seed: int
    claims: dict[str, Known]

    def known(self, key: str, claim_hash: str) -> Known | None:
        """What is known of a claim, unless it was pre-registered anew since."""
        known = self.claims.get(key)
        return known if known is not None and known.claim_hash == claim_hash else None


def read_baseline(path: Path) -> Baseline:
    """Read and validate a baseline.

    Raises:
        ClaimError: the file is not one.
    """
    try:
        return Baseline.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ClaimError(f"baseline {path} cannot be read: {error}; make one with --probe-save") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        what = " ".join(first["msg"].split())
        raise ClaimError(f"{path} is no baseline: {where}: {what}; make one with --probe-save") from None


def misfit(baseline: Baseline, fingerprint: str, seed: int) -> str | None:
    """Why a baseline says nothing about this run, or None."""
    if baseline.fingerprint != fingerprint:
        return (
            f"it is of a model with fingerprint {baseline.fingerprint[:12]}, this one has {fingerprint[:12]}"
        )
    if baseline.seed != seed:
        return f"it was measured with seed {baseline.seed}, this run has {seed}"
    return None


def write_baseline(path: Path, records: Iterable[ClaimRecord], seed: int) -> str:
    """Keep the verdicts of one model, written aside and renamed; returns what was kept, in words.

    What the file holds of other claims stays, as long as it is of the same model and seed; else it is
    written anew.
    """
    records = list(records)
    model = records[0].model
    before = _kept(path, model.fingerprint, seed)
    now = {record.key: _known(record) for record in records}
    claims = dict(sorted({**before, **now}.items()))
    baseline = Baseline(model=model.name, fingerprint=model.fingerprint, seed=seed, claims=claims)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(baseline.model_dump_json(indent=2) + "\n", encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return _counts(before, now)


def _kept(path: Path, fingerprint: str, seed: int) -> dict[str, Known]:
    if not path.exists():
        return {}
    try:
        before = read_baseline(path)
    except ClaimError:
        return {}
    return {} if misfit(before, fingerprint, seed) else before.claims


def _counts(before: dict[str, Known], now: dict[str, Known]) -> str:
    new = sum(key not in before for key in now)
    changed = sum(key in before and before[key].outcome != known.outcome for key, known in now.items())
    untouched = sum(key not in now for key in before)
    return f"kept {len(now)} verdicts ({new} new, {changed} changed), {untouched} more as they were"


def _known(record: ClaimRecord) -> Known:
    found = record.measurement
    return Known(
        outcome=Outcome(record.outcome),
        score=round(found.score, 6) if found else None,
        low=round(found.low, 6) if found else None,
        high=round(found.high, 6) if found else None,
        claim_hash=record.claim_hash,
    )
