"""Which heads does a model have, and what do they carry, on random tokens that come twice?

Random tokens have no meaning, so what matches them is the head. The best of hundreds of heads is high by chance too:
it is chosen on some rows and measured on others, and so is the best head of every control model.
"""

import math

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.ablation.effects import head_sites
from lazarus_probe.introspection.attribution.best_head import (
    best_head,
    best_heads,
    copying_lost,
    head_rows,
    repeated_share,
)
from lazarus_probe.introspection.attribution.repeated_tokens import repeated_tokens


@pytest.fixture(scope="session")
def kept():
    """Rows and what the heads do on them, by model and seed: four claims are about the same."""
    return {}


@pytest.fixture
def repeats(subject, untrained_models, evidence, kept, probe_seed):
    """The rows that a claim declares, and what heads of the subject and of control models do on them."""
    declared = evidence.claim.parameters
    key = (subject.fingerprint, probe_seed, declared["length"], declared["rows"])
    if key not in kept:
        kept.clear()  # of another model
        try:
            drawn = repeated_tokens(subject, declared["length"], declared["rows"], seed=probe_seed)
            kept[key] = drawn, head_rows(subject, untrained_models, drawn, declared["choosing"])
        except UnsupportedArchitecture as error:
            evidence.require(False, str(error))
    return kept[key]


@pytest.mark.claim("induction-head-exists")
def test_induction(repeats, evidence):
    evidence.record(best_head(repeats[1], "induction", seed=evidence.seed, claim=evidence.settles))


@pytest.mark.claim("duplicate-token-head-exists")
def test_duplicate(repeats, evidence):
    evidence.record(best_head(repeats[1], "duplicate", seed=evidence.seed, claim=evidence.settles))


@pytest.mark.claim("previous-token-head-exists")
def test_previous(repeats, evidence):
    evidence.record(best_head(repeats[1], "previous", seed=evidence.seed, claim=evidence.settles))


@pytest.mark.claim("induction-heads-carry-copying")
def test_copying(subject, repeats, evidence):
    drawn, rows = repeats
    declared, heads = evidence.claim.parameters, head_sites(subject)
    count = max(1, math.ceil(declared["share"] * len(heads)))
    evidence.require(len(heads) >= 3 * count, f"has {len(heads)} heads; at least {3 * count} are needed")
    repeated = repeated_share(subject, drawn, declared["choosing"])
    evidence.require(
        repeated >= declared["repeated"],
        f"predicts {repeated:.2f} of the repeated tokens; {declared['repeated']:.2f} needed",
    )
    chosen = best_heads(rows.own, "induction", declared["choosing"], count)
    evidence.record(copying_lost(subject, drawn, chosen, declared["choosing"], seed=evidence.seed))
