"""Which heads does a model have, and what do they carry, on random tokens that come twice?

Random tokens have no meaning, so what matches them is the head. The best of hundreds of heads is high by chance too:
it is chosen on some rows and measured on others, and so is the best head of every control model. What is assumed of
rows and ablation is varied in claims of its own: tokens that are words, and heads set to what they say elsewhere.
"""

import math

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.ablation.config import AblationType
from lazarus_probe.introspection.ablation.effects import head_sites
from lazarus_probe.introspection.attribution.best_head import (
    best_head,
    best_heads,
    copying_lost,
    head_rows,
    repeated_share,
)
from lazarus_probe.introspection.attribution.repeated_tokens import repeated_tokens
from lazarus_probe.subject.random_tokens import word_tokens


@pytest.fixture(scope="session")
def kept():
    """Rows and what the heads do on them, by model, seed and tokens: several claims are about the same."""
    return {}


@pytest.fixture
def repeats(subject, untrained_models, evidence, kept, probe_seed):
    """The rows that a claim declares, and what heads of the subject and of control models do on them."""
    declared = evidence.claim.parameters
    length, words = declared["length"], declared.get("words", False)
    key = (subject.fingerprint, probe_seed, length, declared["rows"], words)
    if key not in kept:
        if all(other[0] != subject.fingerprint for other in kept):
            kept.clear()  # of another model
        tokens = word_tokens(subject).tolist() if words else None
        if tokens is not None:
            evidence.require(len(tokens) >= length, f"has {len(tokens)} words of one token; {length} needed")
        try:
            drawn = repeated_tokens(subject, length, declared["rows"], tokens, probe_seed)
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


@pytest.mark.claim("induction-head-exists-among-words")
def test_induction_among_words(repeats, evidence):
    evidence.record(best_head(repeats[1], "induction", seed=evidence.seed, claim=evidence.settles))


@pytest.mark.claim("induction-heads-carry-copying")
def test_copying(subject, repeats, evidence):
    recorded(subject, repeats, evidence, AblationType.MEAN)


@pytest.mark.claim("induction-heads-carry-copying-resampled")
def test_copying_resampled(subject, repeats, evidence):
    recorded(subject, repeats, evidence, AblationType.RESAMPLE)


def recorded(subject, repeats, evidence, ablation):
    """What is lost without the best induction heads, on models that copy and have others besides."""
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
    evidence.record(
        copying_lost(subject, drawn, chosen, declared["choosing"], ablation=ablation, seed=evidence.seed)
    )
