"""Every claim can be decided: a perfect measurement on its own material comes out supported, a hopeless one does not.

A perfect measurement has to pass in its family as if nothing else in it held: it is corrected for all declared cases,
and only its own are small. Three kinds of claims say themselves that they cannot be decided, and are held to that:
what the tokens tell (`told_by`), and an absence that takes more runs or layers than there are (`tells_from`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import perfect
from perfect import of_units
from perfect_probes import PROBES
from perfect_rates import builder_of

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.declared import FOLDER
from lazarus_probe.claims.expectations import read_claims
from lazarus_probe.claims.library import declared_claims
from lazarus_probe.claims.verdict import Outcome, claim_p, judge
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.multiplicity import benjamini_hochberg

CLAIMS = declared_claims()
OF_COMMANDS = {name: claim for name, claim in read_claims(FOLDER).items() if name not in CLAIMS}
DEPTHS = (30, 80)  # layers of a small model and of a large one
# Groups at which a claim of a command, whose prompts a user gives, must be decided by.
MANY = 400


@cache
def measured(name: str, *, perfectly: bool) -> tuple[Measurement, ...]:
    """The claim's cases; of a claim about layers one stands for all."""
    claim = CLAIMS[name]
    build = builder_of(claim) or PROBES[name]
    return tuple(build(claim, np.random.default_rng(0), perfectly))


def supported(claim: Claim, cases: Sequence[Measurement], num_layers: int) -> bool:
    """Whether all cases are supported, alone and in the family, where every other case counts as p = 1."""
    if any(judge(claim, case).outcome is not Outcome.SUPPORTED for case in cases):
        return False
    own = claim.count(num_layers)
    p = {f"{number}": claim_p(claim, cases[number % len(cases)]) for number in range(own)}
    family = sum(member.count(num_layers) for member in CLAIMS.values() if member.family == claim.family)
    others = [f"other {number}" for number in range(family - own)]
    q = benjamini_hochberg(p, [*p, *others]).q
    return max(q[case] for case in p) <= claim.alpha


def told(name: str) -> bool:
    """Whether the claim does not say itself that it can't be."""
    return not {"told_by", "tells_from"} & CLAIMS[name].parameters.keys()


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_every_claim_has_its_cases(name):
    """The test measures a claim in as many cases as its family counts."""
    claim = CLAIMS[name]
    assert (builder_of(claim) is None) == (name in PROBES)
    assert len(measured(name, perfectly=True)) == (1 if claim.cases == "layers" else claim.cases)


@pytest.mark.parametrize("num_layers", DEPTHS)
@pytest.mark.parametrize("name", sorted(filter(told, CLAIMS)))
def test_a_perfect_measurement_is_supported(name, num_layers):
    """All right in every row, with controls at chance, is supported in the claim's family."""
    cases = measured(name, perfectly=True)
    reasons = [f"{judge(CLAIMS[name], case)}, p {claim_p(CLAIMS[name], case):.3g}" for case in cases]
    assert supported(CLAIMS[name], cases, num_layers), reasons[0]


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_a_hopeless_measurement_is_not_supported(name):
    """With nothing to be read, or controls as high as the score, no case is supported."""
    for case in measured(name, perfectly=False):
        assert judge(CLAIMS[name], case).outcome is not Outcome.SUPPORTED


@pytest.mark.parametrize("name", sorted(name for name in CLAIMS if "told_by" in CLAIMS[name].parameters))
def test_what_tokens_tell_is_confounded(name):
    """A claim that says which control tells as much is confounded by that control, however well a probe reads."""
    case = measured(name, perfectly=True)[0]
    verdict = judge(CLAIMS[name], case)
    assert verdict.outcome is Outcome.CONFOUNDED
    control = next(one for one in case.controls if one.name == CLAIMS[name].parameters["told_by"])
    assert case.score - control.score < CLAIMS[name].margin


@pytest.mark.parametrize("name", sorted(name for name in CLAIMS if "tells_from" in CLAIMS[name].parameters))
def test_what_takes_more_runs_says_how_many(name, monkeypatch):
    """A perfect measurement is not supported with the runs or layers of a test, and is with those that it names."""
    claim = CLAIMS[name]
    assert not supported(claim, measured(name, perfectly=True), DEPTHS[0])
    enough = int(str(claim.parameters["tells_from"]))
    monkeypatch.setattr(perfect, "LAYERS", enough)
    more = claim.model_copy(update={"parameters": {**claim.parameters, "runs": enough}})
    build = builder_of(more)
    assert build is not None
    assert supported(claim, build(more, np.random.default_rng(0), True), DEPTHS[0])


@pytest.mark.parametrize("name", sorted(OF_COMMANDS))
def test_claims_of_commands_can_be_told(name):
    """With prompts enough, a perfect measurement of a claim of a command is supported, and a hopeless one is not."""
    claim = OF_COMMANDS[name]
    units = [str(number) for number in range(max(MANY, claim.minimum_groups))]
    assert judge(claim, of_units(claim, units, True)).outcome is Outcome.SUPPORTED
    assert judge(claim, of_units(claim, units, False)).outcome is not Outcome.SUPPORTED
