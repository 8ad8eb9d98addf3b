"""What does a model do with any text: where does attention rest, what gets long, and what do all states share?

Random tokens mean nothing, so what is the same in all rows is the model's own. Several of these findings are partly
facts of any network of that shape, so each is compared with networks of its shape.
"""

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.geometry.sink_runs import common_massive
from lazarus_probe.introspection.geometry.stream_measures import (
    anisotropy,
    growing_norms,
    massive_rows,
    sinking_heads,
    sinks_lost,
    stream_runs,
)
from lazarus_probe.subject.random_tokens import random_rows


@pytest.fixture(scope="session")
def kept():
    """What a model does on its rows, by model and seed: five claims are about the same."""
    return {}


@pytest.fixture
def runs(subject, untrained_models, evidence, kept, probe_seed):
    """Rows of random tokens as the model's own texts begin, run through it."""
    declared = evidence.claim.parameters
    key = (subject.fingerprint, probe_seed)
    if key not in kept:
        kept.clear()  # of another model
        _, tokens = random_rows(subject, declared["length"], declared["rows"], seed=probe_seed)
        begin = subject.encode("a")[:-1]
        evidence.require(len(begin) <= 1, f"begins a text with {len(begin)} tokens; at most one is expected")
        if begin:
            tokens[:, 0] = begin[0]
        try:
            kept[key] = stream_runs(subject, untrained_models, tokens, probe_seed)
        except UnsupportedArchitecture as error:
            evidence.require(False, str(error))
    return kept[key]


@pytest.mark.claim("heads-sink-into-first-token")
def test_sinks(runs, evidence):
    evidence.record(sinking_heads(runs, seed=evidence.seed, claim=evidence.settles))


@pytest.mark.claim("massive-activations-exist")
def test_massive(runs, evidence):
    evidence.record(massive_rows(runs, seed=evidence.seed, claim=evidence.settles))


@pytest.mark.claim("sinks-rest-on-massive-activations")
def test_sinks_without_massive(subject, runs, evidence):
    massive = common_massive(subject, runs.tokens)
    evidence.require(massive is not None, "has no massive activation at one token in most rows")
    evidence.require(massive.position == 0, f"has them at token {massive.position}, not at the first")
    evidence.require(bool(runs.own.sinking.all()), "has rows without a head that sinks")
    evidence.record(sinks_lost(subject, runs, massive, seed=evidence.seed))


@pytest.mark.claim("residual-norm-grows")
def test_growth(runs, evidence):
    evidence.record(growing_norms(runs, seed=evidence.seed, claim=evidence.settles))


@pytest.mark.claim("unrelated-states-point-one-way")
def test_anisotropy(runs, evidence):
    evidence.record(anisotropy(runs, seed=evidence.seed, claim=evidence.settles))
