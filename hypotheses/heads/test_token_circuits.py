"""By their weights alone, which heads copy what they attend to, suppress it, or count on from it?

Every token is given to every head by itself. The best head is chosen on half of the rows and measured on the others, in
control models too.
"""

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.attribution.best_circuit import best_circuit
from lazarus_probe.introspection.attribution.ordered_words import ordered_tokens
from lazarus_probe.subject.random_tokens import random_rows


@pytest.fixture
def best(subject, untrained_models, evidence):
    """`best(rows, kind)`: the share of tokens that the best head names right, on models with heads of their own."""

    def run(rows, kind):
        try:
            return best_circuit(
                subject, untrained_models, rows, kind, seed=evidence.seed, claim=evidence.settles
            )
        except UnsupportedArchitecture as error:
            evidence.require(False, str(error))

    return run


@pytest.fixture
def rows(subject, evidence):
    """The rows of random tokens that a claim declares, as lists of ids."""
    declared = evidence.claim.parameters
    return random_rows(subject, declared["length"], declared["rows"], seed=evidence.seed)[1].tolist()


@pytest.mark.claim("copying-head-exists")
def test_copying(best, rows, evidence):
    evidence.record(best(rows, "copying"))


@pytest.mark.claim("suppressing-head-exists")
def test_suppressing(best, rows, evidence):
    evidence.record(best(rows, "suppressing"))


@pytest.mark.claim("successor-head-exists")
def test_successor(subject, best, evidence):
    sequences, needed = ordered_tokens(subject).tokens, evidence.claim.minimum_groups
    evidence.require(
        len(sequences) >= needed,
        f"has {len(sequences)} ordered sequences of words that are one token each; {needed} are needed",
    )
    evidence.record(best(list(sequences.values()), "successor"))
