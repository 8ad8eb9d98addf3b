"""What a claim's test hands in: one measurement, or the reason why the claim does not apply to this model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import ValidationError

from lazarus_probe.claims.claim import Claim, ClaimError, NotApplicable
from lazarus_probe.claims.record import MeasurementRecord
from lazarus_probe.claims.verdict import Outcome, Verdict, claim_p, decide, decided_early, judge, refutation_p
from lazarus_probe.plain import without_halves
from lazarus_probe.statistics.measurement import Measurement

MADE_LIKE = "evidence.record(rate(...)), or a Measurement that another analysis returns or you make yourself"


@dataclass
class Evidence:
    """Collects a test's measurement for one claim on one model.

    Attributes:
        claim: what was pre-registered.
        seed: derived from the claim's id and the run's seed; use it for every random choice.
        measurement: what `record` was given.
        pooled: whether several seeds are measured and pooled.
        family_size: the cases of the claim's family, among all of which it must stand to be known.
        anytime: whether prompts are run only until the claim is known (`--probe-anytime`).

    Example:
        >>> from pathlib import Path
        >>> from lazarus_probe import Evidence, rate
        >>> from lazarus_probe.claims import read_claims
        >>> evidence = Evidence(read_claims(Path("expectations"))["answers-products"], seed=0)
        >>> evidence.require(subject.num_layers >= 2, f"has {subject.num_layers} layers; 2 are needed")
        >>> answered, untrained = np.ones(60), np.zeros(60)
        >>> evidence.record(rate("accuracy", answered, np.arange(60), {"untrained": untrained}))
        >>> evidence.verdict().outcome.value
        'supported'
    """

    claim: Claim
    seed: int
    measurement: Measurement | None = None
    requirements: list[str] = field(default_factory=list)
    pooled: bool = False
    family_size: int = 1
    anytime: bool = False

    @property
    def settles(self) -> Claim | None:
        """The claim, for a measurement to leave out controls that cannot change its outcome, as `probe(claim=)` does.

        None where several seeds are pooled, for which all of them need the same controls.
        """
        return None if self.pooled else self.claim

    @property
    def known(self) -> Callable[[Measurement], bool] | None:
        """`is_known` with `--probe-anytime`, for `rate_until_known`, which measures all prompts where this is None.

        None as well where several seeds are pooled, or scores alone are wanted: both need all prompts.
        """
        return self.is_known if self.anytime and not self.pooled and not self.claim.scores_only else None

    def is_known(self, measurement: Measurement) -> bool:
        """Whether a measurement so far has a verdict that is not inconclusive, for `rate_until_known` to stop there.

        A claim that is supported or refuted is also known to be so in its family, whatever its other cases show: its
        p is at most alpha over their number (Bonferroni), which is the most that Benjamini-Hochberg can ask of it.

        Raises:
            ClaimError: as `decide`.
        """
        if measurement.unmeasured and not decided_early(self.claim, measurement):
            return False
        outcome = decide(self.claim, measurement).outcome
        if outcome is Outcome.CONFOUNDED:
            return True
        p = {Outcome.SUPPORTED: claim_p, Outcome.REFUTED: refutation_p}.get(outcome)
        return p is not None and p(self.claim, measurement) <= self.claim.alpha / self.family_size

    def require(self, holds: bool, precondition: str) -> None:
        """State a precondition of the claim; where it fails, the claim is not applicable and the test ends.

        Args:
            holds: whether it does.
            precondition: with its number, as in `answers 0.98 of the products; 0.9 are needed`.

        Raises:
            ClaimError: the precondition is no text.
        """
        if not isinstance(precondition, str):
            raise ClaimError(
                f"claim {self.claim.id!r}: evidence.require takes whether a precondition holds and the precondition in "
                f"words, not {_named(precondition)}"
            )
        if not holds:
            raise NotApplicable(without_halves(precondition))
        self.requirements.append(without_halves(precondition))

    def record(self, measurement: Measurement) -> None:
        """Hand in the measurement that the claim is judged by; once.

        Raises:
            ClaimError: no `Measurement`, or one with a field that no report can keep; or a second measurement:
                parametrise the test instead, so that each has a verdict.
        """
        if not isinstance(measurement, Measurement):
            raise ClaimError(
                f"claim {self.claim.id!r}: evidence.record takes one Measurement, not {_named(measurement)}; give "
                f"{MADE_LIKE}"
            )
        if self.measurement is not None:
            raise ClaimError(f"claim {self.claim.id!r} recorded twice: parametrise the test instead")
        _check_fields(self.claim, measurement)
        self.measurement = measurement

    def verdict(self) -> Verdict:
        """The verdict on what was recorded.

        Raises:
            ClaimError: nothing was recorded.
        """
        if self.measurement is None:
            raise ClaimError(f"claim {self.claim.id!r}: the test ended without evidence.record(...)")
        return judge(self.claim, self.measurement)


def _named(value: object) -> str:
    """A value that was given in place of another, in a few words."""
    text = ascii(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else f'{text[:59]}...'}"


def _check_fields(claim: Claim, measurement: Measurement) -> None:
    """Refuse where it was handed in what the report could not keep: a unit that is no text, say."""
    try:
        MeasurementRecord.model_validate(measurement.as_dict())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ClaimError(
            f"claim {claim.id!r}: the measurement's {where} cannot be kept on a report: {first['msg']}, "
            f"not {_named(first['input'])}"
        ) from None


def not_applicable(reason: str) -> Verdict:
    """The verdict of a claim whose precondition fails."""
    return Verdict(Outcome.NOT_APPLICABLE, reason)
