"""By their weights alone, which heads copy what they attend to, suppress it, or count on from it?

Every token is given to every head by itself. The best head is chosen on half of the rows and measured on the others, in
control models too.
"""

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.attribution.best_circuit import best_circuit
from lazarus_probe.introspection.attribution.ordered_words import ordered_tokens
from lazarus_probe.introspection.attribution.ov_scores import read_once
from lazarus_probe.subject.random_tokens import random_rows


@pytest.fixture
def best(subject, untrained_models, evidence):
    """`best(rows, kind)`: the share of tokens that the best head names right, on models with heads of their own."""

    def run(rows, kind, read=None):
        try:
            return best_circuit(
                subject, untrained_models, rows, kind, read=read, seed=evidence.seed, claim=evidence.settles
            )
        except UnsupportedArchitecture as error:
            evidence.require(False, str(error))

    return run


@pytest.fixture(scope="session")
def kept():
    """What heads do on the rows of a seed, by seed and model: two claims are about the same rows."""
    return {}


@pytest.fixture
def named(subject, best, evidence, kept, probe_seed):
    """`named(kind)`: the measurement on the rows of random tokens that the claims declare."""
    declared = evidence.claim.parameters
    rows = random_rows(subject, declared["length"], declared["rows"], seed=probe_seed)[1].tolist()
    read = read_once({"copying": rows, "suppressing": rows}, kept.setdefault(probe_seed, {}))
    return lambda kind: best(rows, kind, read)


@pytest.mark.claim("copying-head-exists")
def test_copying(named, evidence):
    evidence.record(named("copying"))


@pytest.mark.claim("suppressing-head-exists")
def test_suppressing(named, evidence):
    evidence.record(named("suppressing"))


@pytest.mark.claim("successor-head-exists")
def test_successor(subject, best, evidence):
    sequences, needed = ordered_tokens(subject).tokens, evidence.claim.minimum_groups
    evidence.require(
        len(sequences) >= needed,
        f"has {len(sequences)} ordered sequences of words that are one token each; {needed} are needed",
    )
    evidence.record(best(list(sequences.values()), "successor"))
