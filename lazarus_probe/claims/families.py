"""The verdicts of a session in their families: many claims tested together make false findings likely.

Benjamini-Hochberg over what was declared together, never over what happened to run (Benjamini & Hochberg 1995).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from lazarus_probe.claims.record import ClaimRecord
from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.statistics.multiplicity import benjamini_hochberg


class FamilyRecord(BaseModel):
    """A family as it was tested on one model.

    Attributes:
        name: as declared.
        model: that it was tested on.
        size: how many cases were declared, over all its claims.
        tested: how many gave a p.
        missing: what did not, as in `a-claim (2 of 3)`.
        demoted: what was supported or refuted alone and is not in the family.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    model: str
    size: int
    tested: int
    missing: list[str]
    demoted: list[str]

    @property
    def sentence(self) -> str:
        """What a reader must know of it, in one line."""
        line = f"family {self.name} on {self.model}: {self.tested} of {self.size} declared were tested"
        if self.missing:
            line += f"; the others count as p = 1: {', '.join(self.missing)}"
        if self.demoted:
            line += f"; inconclusive among so many: {', '.join(self.demoted)}"
        return line


def correct(records: Sequence[ClaimRecord]) -> tuple[list[ClaimRecord], list[FamilyRecord]]:
    """Give every record its q, and make inconclusive what is supported, or refuted, alone but not among so many.

    A case that was declared and gave no p, because it did not run or does not apply, counts as p = 1. The rate
    of false discoveries is held at each claim's own alpha.

    Args:
        records: in any order; their `alone`, `p` and `p_refuted` are read.

    Returns:
        The records in the same order, and the families.
    """
    by_family: dict[tuple[str, str], list[ClaimRecord]] = {}
    for record in records:
        by_family.setdefault((record.claim.family, record.model.name), []).append(record)
    corrected: dict[tuple[str, str], ClaimRecord] = {}
    families = []
    for (name, model), members in by_family.items():
        now = _with_q(members)
        corrected |= {(record.key, model): record for record in now}
        families.append(_family(name, model, now))
    return [corrected[record.key, record.model.name] for record in records], families


def _with_q(members: Sequence[ClaimRecord]) -> list[ClaimRecord]:
    """Supports and refutations are corrected apart: each is a family of findings of its own."""
    size = max(_size(members), len(members))
    of_support, of_refutation = (
        _adjusted({record.key: getattr(record, name) for record in members}, size)
        for name in ("p", "p_refuted")
    )
    return [_judged(record, of_support[record.key], of_refutation[record.key], size) for record in members]


def _adjusted(p_values: Mapping[str, float | None], size: int) -> Mapping[str, float]:
    untested = [f" {number}" for number in range(size - len(p_values))]  # no key begins with a space
    return benjamini_hochberg(p_values, [*p_values, *untested]).q


def _size(members: Sequence[ClaimRecord]) -> int:
    """The cases declared; more may have run under a claim that does not say how many it has."""
    ran: dict[str, int] = {}
    for record in members:
        ran[record.claim.id] = ran.get(record.claim.id, 0) + 1
    declared = _declared(members)
    return sum(max(declared.get(name, 0), ran.get(name, 0)) for name in {*declared, *ran})


def _declared(members: Sequence[ClaimRecord]) -> dict[str, int]:
    return {name: cases for record in members for name, cases in record.family.items()}


def _judged(record: ClaimRecord, q: float, q_refuted: float, size: int) -> ClaimRecord:
    if record.p is None:
        return record
    corrected = {"q": q, "q_refuted": None if record.p_refuted is None else q_refuted}
    tests = {Outcome.SUPPORTED: (record.p, q), Outcome.REFUTED: (record.p_refuted, q_refuted)}
    p, adjusted = tests.get(record.alone, (None, 0.0))
    if p is None or adjusted <= record.claim.alpha:
        return record.model_copy(update=corrected)
    reason = (
        f"{record.alone} alone (p = {p:.2g}), but q = {adjusted:.2g} in the family {record.claim.family} of {size}, "
        f"at most {record.claim.alpha:g} is needed; {record.reason}"
    )
    return record.model_copy(update={**corrected, "outcome": Outcome.INCONCLUSIVE, "reason": reason})


def _family(name: str, model: str, members: Sequence[ClaimRecord]) -> FamilyRecord:
    tested: dict[str, int] = {}
    for record in members:
        tested[record.claim.id] = tested.get(record.claim.id, 0) + (record.p is not None)
    declared = _declared(members)
    missing = [
        f"{claim} ({cases - tested.get(claim, 0)} of {cases})" if cases > 1 else claim
        for claim, cases in declared.items()
        if tested.get(claim, 0) < cases
    ]
    demoted = [record.key for record in members if record.outcome != record.alone]
    size, total = _size(members), sum(tested.values())
    return FamilyRecord(name=name, model=model, size=size, tested=total, missing=missing, demoted=demoted)
