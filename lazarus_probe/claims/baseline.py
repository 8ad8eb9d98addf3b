"""Baselines: the verdicts and numbers kept for one model version, against which a later run is tested."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lazarus_probe.claims.baseline_record import BaselineRecord
from lazarus_probe.claims.claim import ClaimError
from lazarus_probe.claims.differences import difference
from lazarus_probe.claims.record import ClaimRecord, named_seeds
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.whole_files import alone_at, make_folder, write_aside
from lazarus_probe.spelling import in_a_line
from lazarus_probe.versions import version_of

SCHEMA: Literal[4] = 4
ANEW = "take it away and make it anew with --probe-update"
COMPARED = {"compared", "difference", "remark"}  # of a run, not of a baseline


class Baseline(BaseModel):
    """What is known of one model: by fingerprint, with one seed, or with several that were pooled.

    Schema 1 had fewer numbers, and no families; schema 2 had one seed; schema 3 kept no scores of units.

    Attributes:
        seed: the first of `seeds`.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1, 2, 3, 4] = SCHEMA
    model: str
    fingerprint: str
    seed: int
    seeds: tuple[int, ...] = Field(default_factory=lambda data: (data["seed"],))
    package: str = ""
    claims: dict[str, BaselineRecord]


def read_baseline(path: Path) -> Baseline:
    """Read and validate a baseline.

    Raises:
        ClaimError: the file is not one, or a newer version of this package wrote it.
    """
    try:
        document = read_json(path)
    except OSError as error:
        raise ClaimError(f"baseline {path} cannot be read: {error.strerror}; {ANEW}") from None
    except ValueError as error:
        raise ClaimError(f"{path} is no baseline: {' '.join(str(error).split())}; {ANEW}") from None
    written = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(written, int) and written > SCHEMA:
        raise ClaimError(
            f"baseline {path} has schema {written}, this version reads up to {SCHEMA}: update lazarus_probe"
        )
    try:
        return Baseline.model_validate(document)
    except ValidationError as error:
        raise ClaimError(
            f"{path} is no baseline: {in_a_line(error.errors()[0], 'the file')}; {ANEW}"
        ) from None


def misfit(baseline: Baseline, fingerprint: str, seeds: Sequence[int]) -> str | None:
    """Why a baseline says nothing about this run, or None."""
    if baseline.fingerprint != fingerprint:
        return (
            f"it is of a model with fingerprint {baseline.fingerprint[:12]}, this one has {fingerprint[:12]}"
        )
    if baseline.seeds != tuple(seeds):
        return f"it was measured with {named_seeds(baseline.seeds)}, this run has {named_seeds(seeds)}"
    return None


def baseline_record_of(record: ClaimRecord) -> BaselineRecord:
    """A record as a later run may know it."""
    measurement = record.measurement
    return BaselineRecord(
        outcome=record.outcome,
        alone=record.alone,
        score=round(measurement.score, 6) if measurement else None,
        low=round(measurement.low, 6) if measurement else None,
        high=round(measurement.high, 6) if measurement else None,
        tokens=measurement.tokens if measurement else None,
        p=record.p,
        q=record.q,
        claim_hash=record.claim_hash,
        family=record.claim.family,
        threshold=record.claim.threshold,
        margin=record.claim.margin,
        group_scores=measurement.group_scores if measurement else {},
    )


def held_against(
    records: Sequence[ClaimRecord], baseline_records: Mapping[str, BaselineRecord]
) -> list[ClaimRecord]:
    """The records of one model, each with what was known of it and how the two compare.

    Args:
        records: of one model, all that there are: what ran of a family decides what can be compared.
        baseline_records: by claim and parameters.
    """
    pairs = compared_all({record.key: baseline_record_of(record) for record in records}, baseline_records)
    return [record.model_copy(update={"known": pairs.get(record.key)}) for record in records]


def compared_all(
    now: Mapping[str, BaselineRecord], before: Mapping[str, BaselineRecord], *, same_prompts: bool = True
) -> dict[str, BaselineRecord]:
    """What was known of the claims of one model that are still there, with how it compares.

    Each difference is judged by itself; `corrected` judges them among all lines of a comparison.

    Args:
        now: by claim and parameters.
        before: likewise.
        same_prompts: whether both drew their prompts with the same seeds, so that units can be paired.
    """
    families = _families(now)
    same = {name for name, keys in _families(before).items() if families.get(name) == keys}
    return {
        key: compared(
            key,
            current if same_prompts else current.model_copy(update={"group_scores": {}}),
            before[key],
            same_family=current.family in same,
        )
        for key, current in now.items()
        if key in before
    }


def _families(claims: Mapping[str, BaselineRecord]) -> dict[str, set[str]]:
    families: dict[str, set[str]] = {}
    for key, record in claims.items():
        families.setdefault(record.family, set()).add(key)
    return families


def compared(
    key: str, now: BaselineRecord, before: BaselineRecord, *, same_family: bool = True
) -> BaselineRecord:
    """What was known of a claim, with how it compares.

    Args:
        key: the claim and its parameters.
        now: its outcome.
        before: its outcome before.
        same_family: whether the same claims of its family were tested; schema 1 knows no families.
    """
    if now.claim_hash != before.claim_hash:
        return before.model_copy(update={"compared": "nothing", "remark": _anew(key, now, before)})
    fields = {
        "compared": "outcome" if same_family or not before.family else "alone",
        "difference": difference(now, before),
        "remark": _tokens(key, now, before),
    }
    return before.model_copy(update=fields)


def _anew(key: str, now: BaselineRecord, before: BaselineRecord) -> str:
    moved = [
        f"{name} of {key} changed since the baseline: {old:g} -> {new:g}"
        for name, old, new in (
            ("threshold", before.threshold, now.threshold),
            ("margin", before.margin, now.margin),
        )
        if old is not None and new is not None and old != new
    ]
    return "; ".join(moved) or f"{key} is declared otherwise than in the baseline"


def _tokens(key: str, now: BaselineRecord, before: BaselineRecord) -> str | None:
    if now.tokens is None or before.tokens is None or now.tokens == before.tokens:
        return None
    return f"the prompts of {key} took {before.tokens} tokens, now {now.tokens}"


def update_baseline(path: Path, records: Iterable[ClaimRecord], seeds: Sequence[int]) -> str:
    """Bring a model's baseline up to date; returns what was kept, in words.

    What the file holds of other claims stays, as long as it is of the same model and seeds; else it is written anew.
    A final verdict stays too where only another part of its family ran and the test by itself says the same. It is
    read and written anew under a lock: what another run keeps there meanwhile stays.

    Raises:
        ClaimError: the file there is no baseline: it is left alone. OSError: it cannot be written.
    """
    records = list(records)
    model = records[0].model
    now = {record.key: _in_family(record) for record in records}
    make_folder(path.parent)
    with alone_at(path):
        before = _records_in(path, model.fingerprint, seeds)
        _write(path, records, seeds, {**before, **now})
    return _counts(before, now)


def save_baseline(path: Path, records: Iterable[ClaimRecord], seeds: Sequence[int]) -> str:
    """Keep a run's verdicts as a baseline of its own name; returns what was kept, in words.

    Raises:
        ClaimError: the file there is no baseline, or holds claims that did not run: it is left alone. OSError: it
            cannot be written.
    """
    records = list(records)
    make_folder(path.parent)
    with alone_at(path):
        return _replace(path, records, seeds)


def _replace(path: Path, records: Sequence[ClaimRecord], seeds: Sequence[int]) -> str:
    now = {record.key: baseline_record_of(record) for record in records}
    lost = [key for key in read_baseline(path).claims if key not in now] if path.exists() else []
    if lost:
        raise ClaimError(
            f"{path.name} holds {len(lost)} claims that did not run ({_some(lost)}), and stays as it was: "
            "give --probe-save another name, or run them too"
        )
    replaced = "in place of what it held" if path.exists() else "a new baseline"
    _write(path, records, seeds, now)
    return f"kept {len(now)} verdicts, {replaced}"


def _in_family(record: ClaimRecord) -> BaselineRecord:
    current = baseline_record_of(record)
    if record.known is None or record.known.compared != "alone" or record.changed:
        return current
    return current.model_copy(update={"outcome": record.known.outcome, "q": record.known.q})


def _records_in(path: Path, fingerprint: str, seeds: Sequence[int]) -> dict[str, BaselineRecord]:
    if not path.exists():
        return {}
    before = read_baseline(path)
    return {} if misfit(before, fingerprint, seeds) else before.claims


def _write(
    path: Path, records: Sequence[ClaimRecord], seeds: Sequence[int], claims: Mapping[str, BaselineRecord]
) -> None:
    model = records[0].model
    baseline = Baseline(
        model=model.name,
        fingerprint=model.fingerprint,
        seed=seeds[0],
        seeds=tuple(seeds),
        package=version_of("lazarus_probe"),
        claims=dict(sorted(claims.items())),
    )
    write_aside(path, baseline.model_dump_json(indent=2, exclude={"claims": {"__all__": COMPARED}}) + "\n")


def _counts(before: Mapping[str, BaselineRecord], now: Mapping[str, BaselineRecord]) -> str:
    new = sum(key not in before for key in now)
    changed = sum(key in before and before[key].outcome != record.outcome for key, record in now.items())
    untouched = sum(key not in now for key in before)
    return f"kept {len(now)} verdicts ({new} new, {changed} changed), {untouched} more as they were"


def _some(keys: Collection[str]) -> str:
    first = ", ".join(list(keys)[:3])
    return first if len(keys) <= 3 else f"{first} and {len(keys) - 3} more"
