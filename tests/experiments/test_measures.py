"""From runs to what claims are judged by: seeds as units, controls paired, losses the right way round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.claims.library import declared_claims
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.experiments.classifier_emergence.arms import ARMS, Run
from lazarus_probe.experiments.classifier_emergence.measures import (
    MAJORITY,
    arms_of,
    claims,
    measure,
    parts_of,
)
from lazarus_probe.experiments.classifier_emergence.readings import Reading

SEEDS, ITEMS = 5, 40


def runs_of(rng: np.random.Generator, seeds: int = SEEDS, **shares: dict[str, float]) -> dict[str, list[Run]]:
    """Runs of each arm with given shares of what is read; 0.5 unless said."""

    def run(arm: str, seed: int) -> Run:
        given = shares.get(arm, {})
        drawn = {
            name: rng.random(ITEMS) < given.get(name, 0.5)
            for name in ("named", "answered", "decoded", "others")
        }
        probability = np.clip(given.get("probability", 0.5) + rng.normal(0, 0.002, ITEMS), 0, 1)
        return Run(arm, seed, 10, {"v_proj": 1}, Reading(probability=probability, **drawn), (1.0, 0.5), 0.1)

    return {arm: [run(arm, seed) for seed in (range(seeds) if arm != "none" else [0])] for arm in ARMS}


def test_the_claims_are_those_of_the_hypotheses(request):
    """The study's claims stand, with the same hashes, among those of hypotheses/."""
    there = declared_claims()
    for name, claim in claims().items():
        assert there[name].hash == claim.hash


def test_every_claim_can_be_measured():
    """What a claim reads exists, its controls are arms or the majority, and every run that it needs is read for it."""
    known = set(ARMS) | {MAJORITY}
    for claim in claims().values():
        assert {*arms_of(claim), *claim.controls} <= known
        assert claim.minimum_groups >= 5
        reads = "answered" if claim.parameters["reads"] == "both" else claim.parameters["reads"]
        for arm in arms_of(claim):
            assert reads in {"named", "probability", *parts_of(arm)}, f"{claim.id}: {arm}"


def test_later_runs_are_read_for_what_is_asked_of_them():
    """What only claims with fewer runs ask for is not read of the later ones, and the report passes over them."""
    assert parts_of("vo", 0) == {"answered", "others", "decoded"}
    most = max(claim.parameters["runs"] for claim in claims().values())
    assert parts_of("vo", most - 1) == set()
    runs = runs_of(np.random.default_rng(0))
    nothing = np.zeros(0, bool)
    last = runs["vo"][-1]
    runs["vo"][-1] = replace(last, reading=replace(last.reading, others=nothing))
    found = measure(claims()["vo-creates-vocabulary-classifier"], runs)
    assert len(found.details["others_by_seed"]) == SEEDS - 1


def test_rates_are_over_seeds_and_items():
    """The score is the mean over all, the units are the runs, a control's gain is the difference of the means."""
    runs = runs_of(np.random.default_rng(0), vo={"named": 0.9}, qk={"named": 0.1}, permuted={"named": 0.2})
    found = measure(claims()["vo-creates-vocabulary-classifier"], runs)
    named = {arm: np.mean([run.reading.named for run in of]) for arm, of in runs.items()}
    assert found.score == pytest.approx(named["vo"])
    assert (found.n, found.groups) == (SEEDS * ITEMS, SEEDS)
    for control in found.controls:
        assert control.gain == pytest.approx(named["vo"] - named[control.name])
    assert found.details["named_by_seed"] == pytest.approx(
        [run.reading.named.mean() for run in runs["vo"]], abs=1e-4
    )


def test_a_difference_is_of_score_and_controls_alike():
    """With `over`, the other arm's share is taken from the score and from each control, paired by run and item."""
    runs = runs_of(np.random.default_rng(0), vo={"named": 0.9}, qk={"named": 0.1}, permuted={"named": 0.3})
    found = measure(claims()["qk-names-less-than-vo"], runs)
    named = {arm: np.mean([run.reading.named for run in of]) for arm, of in runs.items()}
    assert found.score == pytest.approx(named["vo"] - named["qk"])
    assert found.low >= -1.0
    (control,) = found.controls
    assert control.score == pytest.approx(named["permuted"] - named["qk"])
    assert control.gain == pytest.approx(named["vo"] - named["permuted"])


@pytest.mark.parametrize(
    ("vo", "permuted", "outcome"),
    [(0.95, 0.2, "supported"), (0.2, 0.2, "refuted"), (0.95, 0.95, "confounded")],
)
def test_a_difference_takes_true_class_words(vo, permuted, outcome):
    """Naming more than Q/K does is supported, unless little is named, or permuted words are named as well."""
    shares = {"vo": vo, "permuted": permuted, "sft": 0.0}
    runs = runs_of(np.random.default_rng(0), 24, **{arm: {"named": share} for arm, share in shares.items()})
    assert (
        judge(claims()["sft-names-less-than-vo"], measure(claims()["sft-names-less-than-vo"], runs)).outcome
        == outcome
    )


def test_a_loss_is_what_is_missing():
    """With `against`, the score is the other arm's share less the arm's, and the controls are positive."""
    runs = runs_of(
        np.random.default_rng(0), none={"answered": 1.0}, vo={"answered": 0.9}, untrained={"answered": 0.0}
    )
    found = measure(claims()["dual-reward-keeps-answers"], runs)
    answered = np.mean([run.reading.answered for run in runs["vo"]])
    assert found.score == pytest.approx(1 - answered)
    assert found.controls[0].score == pytest.approx(1.0)
    assert found.controls[0].gain == pytest.approx(answered)


def test_majority_is_the_most_common_label():
    """The control of the probe is right on the items of the majority class alone."""
    runs = runs_of(np.random.default_rng(0), none={"decoded": 1.0}, vo={"decoded": 1.0})
    labels = ["a"] * 10 + ["b"] * 30
    found = measure(claims()["hidden-space-classifier-kept"], runs, labels=labels)
    assert found.controls[0].score == pytest.approx(0.25)  # lost: 1 less 30 of 40


def test_what_nothing_did_supports_nothing():
    """Where every arm has the same result, no claim is supported: no difference, and no absence either."""
    runs = runs_of(np.random.default_rng(1))
    for claim in claims().values():
        found = measure(claim, runs, labels=["a", "b"] * (ITEMS // 2))
        assert judge(claim, found).outcome is not Outcome.SUPPORTED, claim.id


def test_the_published_picture_is_supported():
    """Were 120 runs as published, with small losses, the claims would be supported: they can be.

    Five runs would not do: five that never name the class leave a rate of .52 possible, whatever its distribution.
    """
    plain = {"named": 0.0, "probability": 0.01, "answered": 1.0, "decoded": 1.0, "others": 1.0}
    good = {**plain, "named": 1.0, "probability": 0.7}
    shares = dict.fromkeys(("none", "qk", "mlp", "lora", "sft", "grpo"), plain)
    shares |= dict.fromkeys(("vo", "all", "routing"), good)
    runs = runs_of(
        np.random.default_rng(2),
        120,
        **shares,
        permuted={"named": 0.25, "probability": 0.25},
        untrained=dict.fromkeys(plain, 0.0),
    )
    for run in (*runs["vo"], *runs["routing"], *runs["all"]):  # losses differ a little between runs
        for name in ("named", "answered", "others", "decoded"):
            getattr(run.reading, name)[: run.seed % 3] = False
    outcomes = {
        name: judge(claim, measure(claim, runs, labels=["a", "b"] * (ITEMS // 2))).outcome
        for name, claim in claims().items()
    }
    unsure = {name for name, outcome in outcomes.items() if outcome is not Outcome.SUPPORTED}
    # with forty items a run a loss of one is more than the margin allows for
    assert unsure <= {"routing-keeps-answers", "dual-reward-keeps-answers", "dual-reward-keeps-other-tasks",
                      "hidden-space-classifier-kept", "all-projections-add-nothing"}  # fmt: skip
