from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.claims.verdict import Outcome, claim_p, decide, decided_early, judge, refutation_p
from lazarus_probe.statistics.clustered import paired_interval, proportion_interval
from lazarus_probe.statistics.measurement import Control, Damage, Growth, Measurement, Part, Strata
from lazarus_probe.statistics.power import implied_p

FIELDS = {"id": "c", "statement": "s", "source": "a paper", "family": "all", "controls": ("first", "second")}
KINDS = (
    "decodability", "causal_necessity", "causal_sufficiency", "invariance", "absence", "emergence", "training_effect",
)  # fmt: skip


def between(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    kind = draw(st.sampled_from(KINDS))
    numbers = {
        "threshold": draw(between(0.01 if kind == "invariance" else -1, 1)),
        "margin": draw(between(0.01, 0.5)),
    }
    return Claim(**FIELDS, **numbers, kind=kind, alpha=draw(between(0.01, 0.2)))


@st.composite
def intervals(draw: st.DrawFn) -> tuple[float, float, float]:
    middle, down, up = draw(between(-1, 1)), draw(between(0, 0.5)), draw(between(0, 0.5))
    return middle, middle - down, middle + up


CIRCUIT = {"kind": "circuit", "parts": {"minimality": 0.5, "stability": 0.33}}


def with_parts(minimality, stability=(0.6, 0.5, 0.7)):
    return (Part("minimality", *minimality, n=30), Part("stability", *stability, n=20))


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    controls = tuple(Control(name, draw(between(-1, 1)), *draw(intervals())) for name in FIELDS["controls"])
    p = draw(st.none() | between(0, 1))
    score, low, high = draw(intervals())
    return Measurement(score, low, high, 100, draw(st.integers(1, 30)), "accuracy", controls, p)


def conditions(claim: Claim, found: Measurement) -> bool:
    """What supported means, written out anew."""
    at_least, at_most = found.low >= claim.threshold, found.high <= claim.threshold
    past = {"absence": at_most, "invariance": at_most and found.low >= -claim.threshold}.get(
        claim.kind, at_least
    )
    interval_alone = claim.kind in ("absence", "invariance")
    return (
        found.groups >= claim.minimum_groups
        and past
        and all(control.low >= claim.margin for control in found.controls)
        and (interval_alone or found.p is None or found.p <= claim.alpha)
    )


@given(claims(), measurements())
def test_supported_exactly_when_every_condition_holds(claim, found):
    """A verdict is one of five, has its sentence in one line, and is supported only as pre-registered."""
    verdict = decide(claim, found)
    assert verdict.outcome in set(Outcome) - {Outcome.NOT_APPLICABLE}
    assert verdict.reason
    assert "\n" not in verdict.reason
    assert (verdict.outcome == Outcome.SUPPORTED) == conditions(claim, found)


@given(claims(), measurements(), between(0, 1), between(0, 1), between(0, 1))
def test_better_numbers_never_refute(claim, found, score_shift, first_shift, second_shift):
    """Raising every interval (for an absence: lowering the score's) never turns supported into anything else.

    For an invariance no direction is better.
    """
    if decide(claim, found).outcome != Outcome.SUPPORTED or claim.kind == "invariance":
        return
    shift = -score_shift if claim.kind == "absence" else score_shift
    controls = tuple(
        replace(control, gain=control.gain + up, low=control.low + up, high=control.high + up)
        for control, up in zip(found.controls, (first_shift, second_shift), strict=True)
    )
    numbers = {name: getattr(found, name) + shift for name in ("score", "low", "high")} | {"ceiling": 10.0}
    assert decide(claim, replace(found, controls=controls, **numbers)).outcome == Outcome.SUPPORTED


@given(claims(), measurements(), between(0, 1))
def test_doubt_never_helps(claim, found, doubt):
    """Widening the score's interval never makes a verdict supported, refuted or confounded that was not."""
    wider = decide(claim, replace(found, low=found.low - doubt, high=found.high + doubt)).outcome
    before = decide(claim, found).outcome
    if wider in (Outcome.SUPPORTED, Outcome.REFUTED):
        assert wider == before
    if wider == Outcome.CONFOUNDED:
        assert before in (Outcome.CONFOUNDED, Outcome.REFUTED)


@given(claims(), measurements())
def test_another_control_never_supports(claim, found):
    """A control that explains the score away is never outvoted, declared or not."""
    explains = Control("more", 1.0, 0.0, -0.1, claim.margin / 2)
    verdict = decide(claim, replace(found, controls=(*found.controls, explains)))
    assert verdict.outcome != Outcome.SUPPORTED


@pytest.mark.parametrize(
    ("score", "changes", "outcome", "reason"),
    [
        (
            0.95,
            {},
            "supported",
            "accuracy 0.95 [0.93, 0.97]; least gain: majority 0.45 (gain 0.50 [0.47, 0.53])",
        ),
        (0.5, {}, "refuted", "accuracy 0.50 [0.48, 0.52], at least 0.9 was claimed"),
        (
            0.95,
            {"gain": 0.0},
            "confounded",
            "majority reaches 0.95 and the model's gain over it is 0.00 [-0.03, 0.03], less than the margin of 0.1",
        ),
        (
            0.91,
            {},
            "inconclusive",
            "accuracy 0.91 [0.89, 0.93] straddles the threshold, at least 0.9; 20 groups cannot tell 1 from 0.9, "
            "about 34 would",
        ),
        (
            0.95,
            {"low": 0.8, "high": 0.99},
            "inconclusive",
            "accuracy 0.95 [0.80, 0.99] straddles the threshold, at least 0.9; 20 groups cannot tell 1 from 0.9, "
            "about 34 would",
        ),
        (
            0.95,
            {"gain": 0.1},
            "inconclusive",
            "the gain over majority, 0.10 [0.07, 0.13], straddles the margin of 0.1; 20 groups cannot tell a gain over "
            "majority of 0.15 from 0.1, about 89 would",
        ),
        (0.95, {"p": 0.2}, "inconclusive", "p = 0.2, at most 0.05 is needed"),
        (
            0.5,
            {"groups": 9},
            "inconclusive",
            "9 independent groups, 10 are needed; 9 groups cannot tell 1 from 0.9, about 34 would",
        ),
        (
            0.95,
            {"groups": 1, "low": 0.75},
            "inconclusive",
            "1 independent group, 10 are needed; 1 group cannot tell 1 from 0.9, about 34 would",
        ),
        (
            0.95,
            {"groups": 9, "low": 0.75},
            "inconclusive",
            "9 independent groups, 10 are needed; 9 groups cannot tell 1 from 0.9, about 34 would",
        ),
    ],
)
def test_sentences(a_claim, measured, score, changes, outcome, reason):
    """Each verdict says in one sentence which number decided it."""
    verdict = judge(a_claim(), measured(score, **changes))
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


@pytest.mark.parametrize(
    ("score", "gain", "outcome"),
    [(0.01, 0.9, "supported"), (0.5, 0.3, "refuted"), (0.01, 0.0, "confounded"), (0.05, 0.9, "inconclusive")],
)
def test_absence_needs_an_instrument_that_finds(a_claim, measured, score, gain, outcome):
    """An absence is supported by a low score beside a positive control that reaches more, whatever p is."""
    claim = a_claim(kind="absence", threshold=0.05)
    assert judge(claim, measured(score, gain=gain, p=0.9)).outcome == outcome


@pytest.mark.parametrize(
    ("score", "gain", "outcome"),
    [
        (0.01, 0.9, "supported"), (-0.01, 0.9, "supported"), (0.5, 0.3, "refuted"), (-0.5, 0.3, "refuted"),
        (0.01, 0.0, "confounded"), (0.05, 0.9, "inconclusive"), (-0.05, 0.9, "inconclusive"),
    ],
)  # fmt: skip
def test_invariance_is_equivalence(a_claim, measured, score, gain, outcome):
    """No change is supported by an interval inside the threshold on both sides, where what should change does."""
    assert judge(a_claim(kind="invariance", threshold=0.05), measured(score, gain=gain)).outcome == outcome


@given(claims(), measurements())
def test_p_of_a_supported_claim_is_small(claim, found):
    """The p of a claim is at most its largest part's: half of .05 for intervals, alpha for a permutation test."""
    p = claim_p(claim, found)
    assert 0 <= p <= 1
    if decide(claim, found).outcome == Outcome.SUPPORTED:
        assert p <= max(claim.alpha, 0.025 + 1e-9)


def test_p_of_a_claim_is_that_of_its_weakest_part(a_claim, measured):
    """Each part that gets weaker raises p, and a part that is beyond doubt does not hide it."""
    plain = claim_p(a_claim(), measured(0.95))
    assert plain == pytest.approx(0.025**2.5)
    assert claim_p(a_claim(), measured(0.95, p=0.3)) == 0.3
    assert claim_p(a_claim(), measured(0.95, gain=0.12)) == pytest.approx(
        norm.sf(1.96 * 0.02 / 0.03), rel=1e-3
    )
    absence = a_claim(kind="absence", threshold=0.97)
    assert claim_p(absence, measured(0.95, p=0.9)) == pytest.approx(norm.sf(1.96), rel=1e-3)
    invariance = a_claim(kind="invariance", threshold=0.05)
    assert claim_p(invariance, measured(0.04)) == pytest.approx(norm.sf(1.96 * 0.01 / 0.02), rel=1e-3)
    assert claim_p(invariance, measured(-0.04)) == claim_p(invariance, measured(0.04))


def test_undeclared_null_result(a_claim, measured):
    """A control that was declared and not measured is an error, not a verdict."""
    with pytest.raises(ClaimError, match="declares controls that were not measured: bag_of_tokens, twin"):
        judge(a_claim(controls=["majority", "twin", "bag_of_tokens"]), measured(0.95))


def test_chance_is_rarely_supported():
    """A probe that is no better than its control is supported at most as often as the level allows."""
    rng, claim = np.random.default_rng(0), Claim(**FIELDS, kind="decodability", threshold=0.5, margin=0.05)
    supported = 0
    for seed in range(100):
        groups = np.arange(60) // 3
        right, *others = (rng.random((3, 60)) < 0.7).astype(float)
        gains = [
            (right - other, paired_interval(right - other, groups, draws=200, seed=seed)) for other in others
        ]
        controls = tuple(
            Control(name, 0.7, gain.mean(), of_gain.low, of_gain.high)
            for name, (gain, of_gain) in zip(FIELDS["controls"], gains, strict=True)
        )
        interval = proportion_interval(right, groups, draws=200, seed=seed)
        found = Measurement(right.mean(), interval.low, interval.high, 60, 20, "accuracy", controls)
        supported += decide(claim, found).outcome == Outcome.SUPPORTED
    assert supported <= 2


def distracted(right: np.ndarray, groups: int) -> Measurement:
    """A score beside a control that is always right, as exact intervals have it."""
    units = np.arange(groups)
    interval, gain = proportion_interval(right, units), paired_interval(right - 1.0, units)
    control = Control("bag_of_tokens", 1.0, float(right.mean() - 1), gain.low, gain.high)
    return Measurement(
        float(right.mean()), interval.low, interval.high, groups, groups, "accuracy", (control,)
    )


@pytest.mark.parametrize("groups", [10, 20, 40, 59, 60, 100, 200])
def test_a_perfect_distractor_is_confounded_at_any_number_of_groups(groups):
    """A control that is always right leaves no score anything to gain, however few the groups."""
    claim = Claim(**FIELDS | {"controls": ["bag_of_tokens"]}, kind="decodability", threshold=0.6, margin=0.05)
    for wrong in (0, 1, 2):
        found = distracted((np.arange(groups) >= wrong).astype(float), groups)
        assert judge(claim, found).outcome == Outcome.CONFOUNDED


def test_outcomes_are_monotone_in_the_score():
    """Beside a control that is always right, a better score is first refuted, then confounded, and never else."""
    claim = Claim(**FIELDS | {"controls": ["bag_of_tokens"]}, kind="decodability", threshold=0.6, margin=0.05)
    outcomes = [
        judge(claim, distracted((np.arange(40) < right).astype(float), 40)).outcome for right in range(41)
    ]
    assert outcomes == sorted(outcomes, key=[Outcome.REFUTED, Outcome.CONFOUNDED].index)


def test_no_number_of_groups_is_given_where_more_could_only_confound(a_claim, measured):
    """A control that reaches what was declared, less the margin, is named instead of a number of groups."""
    near = Control("bag_of_tokens", 0.93, 0.02, -0.1, 0.14)
    verdict = judge(
        a_claim(effect=0.95, margin=0.05, controls=["bag_of_tokens"]),
        measured(0.95, low=0.85, controls=(near,)),
    )
    assert verdict.outcome == Outcome.INCONCLUSIVE
    assert (
        "more groups cannot help: over bag_of_tokens the declared effect of 0.95 would gain 0.02"
        in verdict.reason
    )


def test_no_number_of_groups_is_given_where_models_differ_too_much(a_claim, measured):
    """Where one more untrained model may take the margin away, models are requested instead of groups."""
    wide = Control("untrained", 0.8, 0.1, -0.1, 0.3, spread=0.18)
    claim = a_claim(effect=0.92, threshold=0.8, margin=0.05, controls=["untrained"])
    reason = judge(claim, measured(0.9, low=0.85, controls=(wide,))).reason
    assert "one more model of untrained may be 0.18 from those measured" in reason
    assert "would gain 0.12 over them, where the margin is 0.05; more such models may" in reason
    assert "groups cannot tell a gain" not in reason


def test_groups_are_not_asked_to_narrow_what_models_differ_by(a_claim, measured):
    """Of one interval, the more is due to the models, the more groups it takes to clear what is left of the gain."""
    claim = a_claim(effect=0.92, threshold=0.8, margin=0.05, controls=["untrained"])

    def needed(spread: float) -> int:
        low = 0.15 - float(np.hypot(0.2, spread))
        control = Control("untrained", 0.75, 0.15, low, 0.3, spread=spread)
        reason = judge(claim, measured(0.9, low=0.85, controls=(control,))).reason
        return int(reason.rsplit("about ", 1)[1].split()[0])

    alone, some, most = (needed(spread) for spread in (0.0, 0.06, 0.1))
    assert alone < some < most


RISING = Growth(half=0.6, gain=0.14, low=0.08, high=0.2, expected=0.83)
NO_CURVE = "no half of the training groups holds every class: add groups"
FLAT = Growth(half=0.49, gain=0.01, low=-0.02, high=0.04, expected=0.51)


@pytest.mark.parametrize(
    ("growth", "outcome"),
    [(RISING, "inconclusive"), (FLAT, "refuted"), (None, "refuted"), (NO_CURVE, "inconclusive")],
)
def test_what_still_rises_with_rows_is_not_refuted(a_claim, measured, growth, outcome):
    """A probe that gains from more rows lacks rows; the model is not shown to lack what is read."""
    verdict = judge(a_claim(), measured(0.5, growth=growth))
    assert verdict.outcome == outcome
    if growth is RISING:
        assert "twice as many are expected to give 0.83" in verdict.reason


@pytest.mark.parametrize(
    ("growth", "outcome"), [(RISING, "inconclusive"), (FLAT, "supported"), (NO_CURVE, "inconclusive")]
)
def test_an_absence_needs_a_flat_curve(a_claim, measured, growth, outcome):
    """A probe that reads nothing yet, and more with every row, shows no absence."""
    claim = a_claim(kind="absence", threshold=0.6, controls=["operand_sum"])
    positive = Control("operand_sum", 1.0, 0.5, 0.4, 0.6)
    assert judge(claim, measured(0.5, controls=(positive,), growth=growth)).outcome == outcome


@pytest.mark.parametrize(
    ("strata", "outcome"),
    [
        (Strata(72, 72, 0, 0.04), "supported"),
        (Strata(72, 6, 0, 0.9), "inconclusive"),
        (Strata(72, 60, 0, 0.2, tuple(f"slice {i}" for i in range(12))), "inconclusive"),
    ],
)
def test_everywhere_is_supported_below_the_share_that_may_fail(a_claim, measured, strata, outcome):
    """A universal claim rests on the upper bound of the share of strata that fail, and says how many were measured."""
    verdict = judge(a_claim(failing_share=0.05), measured(0.95, strata=strata))
    assert verdict.outcome == outcome
    assert f"{strata.measured} of 72 strata were measured, 0 failed" in verdict.reason
    assert ("slice 11" in verdict.reason) == bool(strata.untestable)


def test_everywhere_without_strata_is_an_error(a_claim, measured):
    with pytest.raises(ClaimError, match="no strata were measured: measure it with `falsify` over slices"):
        judge(a_claim(failing_share=0.05), measured(0.95))


def test_what_is_generalised_over_is_counted(a_claim, measured):
    """Nine phrasings are nine units, however many families there are; a kind that was not counted is an error."""
    claim = a_claim(generalises_over=["phrasing", "family"])
    few = measured(0.95, units={"phrasing": 9, "family": 40}, groups=9)
    assert judge(claim, few).reason.startswith("independent units: 9 phrasing, 40 family, 10 are needed")
    with pytest.raises(
        ClaimError, match="kinds of units to generalise over that were not measured: phrasing"
    ):
        judge(claim, measured(0.95, units={"family": 40}, groups=40))


@pytest.mark.parametrize(
    ("score", "changes", "begins"),
    [
        (0.95, {}, "accuracy 0.95"),
        (0.5, {}, "accuracy 0.50 [0.48, 0.52], at least 0.9 was claimed"),
        (0.91, {}, "accuracy 0.91 [0.89, 0.93] straddles the threshold"),
        (0.95, {"gain": 0.1}, "the gain over majority, 0.10 [0.07, 0.13], straddles the margin"),
        (0.95, {"gain": 0.0}, "majority reaches 0.95"),
        (0.95, {"p": 0.2}, "p = 0.2"),
    ],
)
def test_damage_is_said_whatever_the_outcome(a_claim, measured, score, changes, begins):
    """The sentence of a causal claim says what its edit does elsewhere, after all else."""
    damage = Damage("next token changed on capitals", 0.4, 0.3, 0.5, 60)
    reason = judge(a_claim(kind="causal_sufficiency"), measured(score, damage=damage, **changes)).reason
    assert reason.startswith(begins)
    assert reason.endswith("; damage: next token changed on capitals 0.40 [0.30, 0.50]")


def test_too_few_groups_tell_no_damage(a_claim, measured):
    """Where there are too few groups to say anything of the claim, its edit's damage is not told either."""
    damage = Damage("next token changed on capitals", 0.4, 0.3, 0.5, 60)
    few = judge(a_claim(kind="causal_sufficiency"), measured(0.95, damage=damage, groups=9))
    assert "damage" not in few.reason


@pytest.mark.parametrize(
    ("minimality", "outcome"),
    [
        ((0.8, 0.6, 0.9), Outcome.SUPPORTED),
        ((0.8, 0.4, 0.9), Outcome.INCONCLUSIVE),
        ((0.2, 0.1, 0.4), Outcome.REFUTED),
    ],
)
def test_a_circuit_needs_all_of_its_parts(a_claim, measured, minimality, outcome):
    """However faithful it is, edges that are not needed refute it, and an interval that straddles leaves it open."""
    verdict = judge(a_claim(**CIRCUIT), measured(0.95, parts=with_parts(minimality)))
    assert verdict.outcome is outcome
    assert f"minimality {minimality[0]:.2f}" in verdict.reason


def test_p_of_a_circuit_is_that_of_its_weakest_part(a_claim, measured):
    """All must hold for support, and any of them refutes: the first takes the largest p, the second corrects."""
    claim, sure = a_claim(**CIRCUIT), with_parts((0.9, 0.85, 0.95))
    weak = with_parts((0.55, 0.45, 0.65))
    assert claim_p(claim, measured(0.95, parts=weak)) > claim_p(claim, measured(0.95, parts=sure))
    failing = measured(0.95, parts=with_parts((0.4, 0.3, 0.55)))
    alone = implied_p(-0.4, -0.55, -0.3, -0.5)
    assert refutation_p(claim, failing) == pytest.approx(3 * alone)
    assert refutation_p(claim, measured(0.95, parts=sure)) > 0.9


def test_parts_that_were_not_measured_are_missed(a_claim, measured):
    """A circuit is not judged on its faithfulness alone, except where that refutes it."""
    with pytest.raises(ClaimError, match="declares parts that were not measured: minimality, stability"):
        judge(a_claim(**CIRCUIT), measured(0.95))
    left_out = measured(0.2, unmeasured=("minimality", "stability"))
    assert judge(a_claim(**CIRCUIT), left_out).outcome is Outcome.REFUTED


@given(claims(), measurements())
def test_a_refutation_has_a_small_p(claim, found):
    """What is refuted has a p of at most half of .05 for missing the threshold; twice that where either side misses."""
    p = refutation_p(claim, found)
    assert 0 <= p <= 1
    if decide(claim, found).outcome == Outcome.REFUTED:
        assert p <= (0.05 if claim.kind == "invariance" else 0.025) + 1e-9


def test_a_gain_above_the_range_is_advised_on():
    """A control whose R2 is below 0 is gained more over than 1: that is no score that groups are simulated with."""
    control = Control("shuffled_labels", -0.03, 1.0089, 0.073, 1.2)
    found = Measurement(0.979, 0.85, 1.0, 50, 50, "held-out capped R2", (control,))
    claim = Claim(
        id="r2",
        statement="s",
        source="t",
        kind="decodability",
        threshold=0.8,
        effect=1.0,
        margin=0.2,
        controls=("shuffled_labels",),
    )
    assert judge(claim, found).outcome == "inconclusive"


@given(claims(), measurements(), st.data())
def test_unmeasured_controls_never_change_a_verdict(claim, measurement, data):
    """Without a control the outcome is the same where it is settled, and is refused everywhere else."""
    control = data.draw(st.sampled_from(measurement.controls))
    others = tuple(other for other in measurement.controls if other != control)
    part = replace(measurement, controls=others, unmeasured=(control.name,))
    if decided_early(claim, part):
        assert decide(claim, part).outcome is decide(claim, measurement).outcome
        assert decide(claim, part).outcome is not Outcome.SUPPORTED
    else:
        with pytest.raises(ClaimError, match=f"depends on controls that were not measured: {control.name}"):
            decide(claim, part)
