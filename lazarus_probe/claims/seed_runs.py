"""The verdict of a claim with several seeds: one on the pool of them, next to that of each seed alone.

A seed draws prompts, splits, untrained models and controls. A verdict near its threshold turns with that draw; the pool
rests on all of the draws, and says with how many of them alone it would have been the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.claims.pooling import pool
from lazarus_probe.claims.verdict import Outcome, Verdict, judge
from lazarus_probe.statistics.measurement import Measurement


@dataclass(frozen=True)
class SeedRun:
    """The outcome of a claim's test with one seed.

    Attributes:
        seed: of the run, as `--probe-seeds` names it.
        verdict: of this seed alone.
        measurement: None where the claim is not applicable.
        requirements: preconditions that held.
    """

    seed: int
    verdict: Verdict
    measurement: Measurement | None = None
    requirements: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """A claim's verdict and what it rests on; `seeds` are those that were pooled, empty where one alone was run."""

    verdict: Verdict
    measurement: Measurement | None
    requirements: tuple[str, ...]
    seeds: tuple[SeedRun, ...] = ()


def judge_pooled(claim: Claim, runs: Sequence[SeedRun]) -> Judged:
    """One verdict on the pool of several seeds.

    Where more than half of the seeds find the claim not applicable, it is; else those that measured are pooled. A pool
    that holds a counterexample, which one seed confirmed on fresh prompts, supports nothing.

    Args:
        claim: what was pre-registered.
        runs: at least one, in the order of their seeds.

    Raises:
        ClaimError: the seeds measured different things; see `pool`.
    """
    requirements = tuple(dict.fromkeys(text for run in runs for text in run.requirements))
    measured = {run.seed: run.measurement for run in runs if run.measurement is not None}
    if 2 * len(measured) < len(runs):
        verdict = Verdict(Outcome.NOT_APPLICABLE, _why_not_applicable(runs))
        return Judged(verdict, None, requirements, tuple(runs))
    try:
        pooled = pool(measured, claim.controls)
    except ValueError as error:
        raise ClaimError(f"claim {claim.id!r}: {error}") from None
    return Judged(_unless_it_fails(judge(claim, pooled), measured), pooled, requirements, tuple(runs))


def _unless_it_fails(verdict: Verdict, measured: Mapping[int, Measurement]) -> Verdict:
    """The verdict on a pool, but no support where one of the seeds confirmed a counterexample.

    The mean of a failure that one seed found and of what the others did not find says little of either.
    """
    failing = {
        seed: measurement.counterexamples[0].where
        for seed, measurement in measured.items()
        if measurement.counterexamples
    }
    if verdict.outcome != Outcome.SUPPORTED or not failing:
        return verdict
    seed, where = next(iter(failing.items()))
    reason = (
        f"{len(failing)} of {len(measured)} seeds found where it fails, seed {seed} on {where}; all pooled: "
    )
    return Verdict(Outcome.INCONCLUSIVE, f"{reason}{verdict.reason}")


def _why_not_applicable(runs: Sequence[SeedRun]) -> str:
    by_reason: dict[str, list[int]] = {}
    for run in runs:
        if run.measurement is None:
            by_reason.setdefault(run.verdict.reason, []).append(run.seed)
    if len(by_reason) == 1 and len(next(iter(by_reason.values()))) == len(runs):
        return next(iter(by_reason))
    count = sum(map(len, by_reason.values()))
    reasons = "; ".join(
        f"{reason} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"
        for reason, seeds in by_reason.items()
    )
    return f"with {count} of {len(runs)} seeds: {reasons}"
