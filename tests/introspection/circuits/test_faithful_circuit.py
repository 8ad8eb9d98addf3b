"""A circuit as a claim: a planted one is supported, and neither random weights nor a lucky half of the pairs is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lazarus_probe.claims.library import declared_claims
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.introspection import PromptPair
from lazarus_probe.introspection.circuits.capped_runs import one_of_each
from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.edges.edge import Edge
from lazarus_probe.introspection.circuits.edges.edge_graph import BlockNodes, EdgeGraph, random_alike
from lazarus_probe.introspection.circuits.faithful_circuit import faithful_circuit, parted
from lazarus_probe.introspection.circuits.pair_sets import plain_values
from lazarus_probe.organisms import planted
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import LESIONS, control_models, lesioned
from tests.introspection.circuits.planted_pairs import first_operand_pairs, subject_of

CLAIM = declared_claims()["product-circuit-is-faithful"]


def pairs_of(organism, count):
    """Pairs that differ in the first operand, each by itself, and their units."""
    rng, pairs = np.random.default_rng(1), []
    while len(pairs) < count:
        a, x, b = (int(number) for number in rng.choice(planted.NUMBERS, size=3))
        answers = organism.answer(x, b), organism.answer(a, b)
        if answers[0] != answers[1]:
            pairs.append(PromptPair(planted.prompt(x, b), planted.prompt(a, b), *map(str, answers)))
    return pairs, {"pair": [str(number) for number in range(count)]}


def test_a_planted_circuit_is_supported():
    """Three edges among random heads: the circuit has all of the answer, and nothing else has any of it."""
    organism = planted.hidden()
    subject = subject_of(organism)
    measurement = faithful_circuit(
        subject, control_models(subject, count=3), *pairs_of(organism, 60), share=0.05
    )
    assert measurement.score > 0.95
    assert set(organism.edges) <= {name for name, *_ in measurement.details["circuit"]["edges"]}
    controls = {control.name: control.score for control in measurement.controls}
    assert controls["without_circuit"] < 0.05
    assert controls["random_circuits"] < 0.2
    parts = {part.name: part for part in measurement.parts}
    assert parts["minimality"].low > 0.5
    assert parts["stability"].low > 0.33
    assert 0.2 < measurement.details["outdoes_model"]["share"] < 0.8
    assert len(measurement.details["found_again"]["pair"]) == 5
    assert judge(CLAIM, measurement).outcome is Outcome.SUPPORTED


def outcome_on_random_weights(subject, seed):
    """The verdict on pairs that differ in their first number; None where the model does not tell them apart."""
    numbers = np.random.default_rng(seed).integers(0, 10, size=(24, 3)).tolist()
    pairs = [PromptPair(f"{x} * {b} =", f"{a} * {b} =", str(x), str(a)) for a, x, b in numbers if a != x]
    units = {"pair": [str(number) for number in range(len(pairs))]}
    try:
        measurement = faithful_circuit(subject, control_models(subject, count=3), pairs, units, share=0.05)
    except ValueError:
        return None
    return judge(CLAIM, measurement).outcome


@pytest.mark.parametrize("seed", [*range(3), pytest.param(range(3, 203), marks=pytest.mark.long)])
def test_random_weights_have_no_circuit(make_llama, tokenizer, seed):
    """The null: no circuit of an untrained model is supported, and most such models tell no prompts apart."""
    for number in [seed] if isinstance(seed, int) else seed:
        subject = Subject.from_model(make_llama(number), tokenizer, "random")
        assert outcome_on_random_weights(subject, number) is not Outcome.SUPPORTED


@pytest.mark.long
@pytest.mark.parametrize("lesion", LESIONS)
def test_lesioned_models_have_no_circuit(organism, lesion):
    """The null with trained embeddings: of 25 models of a kind no circuit for products is supported."""
    digits = [(a, b) for a in range(2, 10) for b in range(a, 10) if a * b != a + b]
    pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in digits]
    units = {"operands": [f"{a},{b}" for a, b in digits]}
    for seed in range(5000, 5025):
        model = lesioned(organism, lesion, seed)
        try:
            measurement = faithful_circuit(
                model, control_models(model, count=3), pairs, units, share=0.05, claim=CLAIM
            )
        except ValueError as error:
            print(lesion, seed, str(error)[:60])
            continue
        print(lesion, seed, judge(CLAIM, measurement))
        assert judge(CLAIM, measurement).outcome is not Outcome.SUPPORTED


def test_the_metric_of_the_plain_model_is_that_of_the_edges():
    """Clean and corrupted values are those of the circuits with all edges and with none."""
    pairs = first_operand_pairs(planted.hidden())
    every = np.ones((1, pairs.splitting.graph.size), dtype=bool)
    ends = circuit_values(pairs, np.concatenate([every, ~every]))
    np.testing.assert_allclose(np.stack(plain_values(pairs), axis=1), ends, atol=1e-3)


def test_random_circuits_have_the_shape_of_the_circuit():
    """As many edges between every two places, drawn anew each time."""
    graph = EdgeGraph((BlockNodes(4, 2), BlockNodes(4, 2), BlockNodes(4, 2)))
    kept = graph.flags(["embed -> L0.H1.q", "L0.H1 -> L2.KV1.v", "L0.H3 -> L2.H0.q", "L1.MLP -> logits"])

    def places(flags):
        return Counter((edge.sender.place, edge.receiver.place) for edge in graph.named(flags))

    drawn = [random_alike(graph, kept, np.random.default_rng(seed)) for seed in range(20)]
    assert all(places(flags) == places(kept) for flags in drawn)
    assert len({flags.tobytes() for flags in drawn}) > 10
    assert all(
        Edge.parse("L1.MLP -> logits") in graph.named(flags) for flags in drawn
    )  # there is one of that shape


def test_a_share_out_of_range_is_refused(organism):
    """A circuit of no edges is none, and there are not more than all."""
    for share in (0, 1.5):
        with pytest.raises(ValueError, match=f"share is {share}; give a share of all edges"):
            faithful_circuit(organism, (), [], {"pair": []}, share=share)


def test_one_pair_of_each_unit_is_drawn():
    """Up to as many units as are wanted, each once."""
    names = [name for name in "abcdef" for _ in range(3)]
    rows = one_of_each(names, 4, seed=0)
    assert len({names[row] for row in rows}) == len(rows) == 4
    assert rows == sorted(rows)
    assert len(one_of_each(names, 9, seed=0)) == 6


def test_units_are_found_on_or_measured_on():
    """No unit is on both sides, the share is that of units, and too few are refused."""
    names = [str(row // 3) for row in range(36)]
    finding, measuring = parted(names, 1 / 3, seed=4)
    assert len(finding) == 12
    assert sorted([*finding, *measuring]) == list(range(36))
    assert not {names[row] for row in finding} & {names[row] for row in measuring}
    with pytest.raises(
        ValueError, match="1 of 12 units to find a circuit on; at least 2 are needed, and 2 others"
    ):
        parted(names, 0.1, seed=0)
