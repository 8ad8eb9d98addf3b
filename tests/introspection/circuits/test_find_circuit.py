"""Finding a circuit from pairs of prompts: planted ones are found, and what cannot be is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.introspection import CircuitSearch, PromptPair, find_circuit
from lazarus_probe.introspection.circuits.circuit_search import halves_of
from lazarus_probe.introspection.circuits.edge_attribution import edge_scores
from lazarus_probe.introspection.circuits.edge_patching import edge_effects
from lazarus_probe.introspection.circuits.pair_sets import pair_set
from lazarus_probe.organisms import planted
from lazarus_probe.subject import Subject
from lazarus_probe.sweep.metrics import logit_diff
from tests.introspection.circuits.planted_pairs import subject_of


def planted_pairs(organism, count=10):
    rng, pairs = np.random.default_rng(1), []
    while len(pairs) < count:
        a, x, b = (int(number) for number in rng.choice(planted.NUMBERS, size=3))
        answers = organism.answer(x, b), organism.answer(a, b)
        if answers[0] != answers[1]:
            pairs.append(PromptPair(planted.prompt(x, b), planted.prompt(a, b), *map(str, answers)))
    return pairs


@pytest.fixture(scope="module")
def organism():
    return planted.hidden()


@pytest.fixture(scope="module")
def circuit(organism):
    return find_circuit(
        subject_of(organism), planted_pairs(organism), CircuitSearch(prune=True, faithful=0.95, exact=2)
    )


def test_a_planted_circuit_is_found_and_measured_on_other_pairs(organism, circuit):
    """Among the edges that are left are the planted ones, first; random circuits of that size do nothing."""
    names = [edge.name for edge in circuit.edges]
    assert set(names[:3]) == set(organism.edges)
    assert len(names) < 10
    assert (circuit.held_out, circuit.found_on, circuit.measured_on) == (True, 5, 5)
    assert circuit.faithfulness.low > 0.8
    assert abs(circuit.without.value) < 0.1
    assert np.abs(circuit.random).max() < 0.2
    assert circuit.clean > 20 > -20 > circuit.empty
    exact = [edge.name for edge in circuit.edges if edge.effect is not None]
    assert exact == names[:2]
    for edge in circuit.edges[:2]:
        assert edge.effect.high < -50
        assert edge.loss.low > 0.8
        assert edge.score.low < edge.score.value < edge.score.high


def test_the_result_prints(circuit):
    """Tables have a row an edge and a row a point of the curve, and the page shows both."""
    assert len(circuit.table().rows) == len(circuit.edges)
    assert len(circuit.table(2).rows) == 2
    assert circuit.curve_table().lines()[-1].split()[0] == str(circuit.graph.size)
    page = circuit._repr_html_()
    assert "faithfulness by number of edges" in page
    assert circuit.edges[0].name.replace(">", "&gt;") in page
    assert f"{len(circuit.edges)} of {circuit.graph.size} edges" in circuit.summary()


def test_the_same_pairs_may_find_and_measure(organism):
    """Without held-out pairs all serve both, and the summary says that this flatters."""
    search = CircuitSearch(steps=1, edges=3, held_out=False, exact=0)
    found = find_circuit(subject_of(organism), planted_pairs(organism, 3), search)
    assert (found.found_on, found.measured_on) == (3, 3)
    assert "flatters" in found.summary()
    assert {edge.name for edge in found.edges} == set(organism.edges)
    assert all(edge.effect is None and edge.loss is None for edge in found.edges)


def test_halves_are_of_groups():
    """Pairs of one group are in one half, and both halves have as many groups."""
    groups = [0, 0, 1, 2, 2, 3, 1]
    first, second = halves_of(groups, CircuitSearch(seed=3))
    assert sorted(first + second) == list(range(7))
    left, right = ({groups[row] for row in rows} for rows in (first, second))
    assert not left & right
    assert len(left) == len(right) == 2


def test_no_more_edges_are_kept_than_are_enough(organism):
    """Between the points of the curve the fewest are found that are faithful: the three that were planted."""
    found = find_circuit(
        subject_of(organism), planted_pairs(organism, 6), CircuitSearch(steps=1, faithful=0.9, exact=0)
    )
    assert {edge.name for edge in found.edges} == set(organism.edges)


def test_scores_are_of_one_half_and_measures_of_the_other(organism):
    """Scores are means over the pairs that the circuit was found on, and effects over those that it was not."""
    subject, pairs, search = subject_of(organism), planted_pairs(organism), CircuitSearch(edges=3, exact=1)
    found = find_circuit(subject, pairs, search)
    first, second = halves_of(range(len(pairs)), search)
    every = pair_set(
        subject,
        [pair.target for pair in pairs],
        [pair.source for pair in pairs],
        logit_diff([str(pair.target_answer) for pair in pairs], [str(pair.source_answer) for pair in pairs]),
    )
    scores, best = edge_scores(every, search.steps), found.edges[0]
    effects = edge_effects(every, [best.name])
    index = scores.graph.index(best.name)
    assert best.score.value == pytest.approx(scores.values[first, index].mean(), rel=1e-4)
    assert best.effect.value == pytest.approx(effects.values[second, 0].mean(), rel=1e-4)
    assert found.clean == pytest.approx(scores.clean[second].mean(), rel=1e-4)
    assert found.empty == pytest.approx(scores.corrupted[second].mean(), rel=1e-4)


def test_edges_name_the_pairs_that_they_act_on_most(organism, circuit):
    """Of each edge the two pairs with the largest scores, among those that it was found on."""
    pairs = planted_pairs(organism)
    first, _ = halves_of(range(len(pairs)), CircuitSearch())
    assert [prompt.clean for prompt in circuit.prompts] == [pairs[row].target for row in first]
    assert [prompt.corrupted for prompt in circuit.prompts] == [pairs[row].source for row in first]
    for edge in circuit.edges[:3]:
        strongest, second = (abs(shown.score) for shown in edge.strongest)
        assert strongest >= second
        assert strongest >= abs(edge.score.value)
        assert {shown.pair for shown in edge.strongest} < set(range(len(first)))


def test_a_planted_circuit_is_found_again(circuit):
    """In all resamples of the pairs that it was found on the planted edges score highest, and ranks hardly change."""
    again = circuit.found_again
    assert again.resamples == 20
    assert again.overlap.value > 0.8
    assert again.correlation > 0.9
    assert "Found again in 20 resamples" in circuit.summary()


def test_one_group_of_pairs_has_no_resamples(organism):
    """Of pairs of one group nothing is said about resamples, for there is none but itself."""
    pairs = [replace(pair, group="one") for pair in planted_pairs(organism, 3)]
    groups = [*(replace(pair, group=str(number)) for number, pair in enumerate(planted_pairs(organism, 3)))]
    search = CircuitSearch(steps=1, edges=3, held_out=False, exact=0)
    subject = subject_of(organism)
    assert find_circuit(subject, groups, search).found_again is not None
    with pytest.raises(ValueError, match="1 group of pairs; at least 2 are needed"):
        find_circuit(subject, pairs, search)


def test_a_circuit_is_measured_on_other_tasks(organism):
    """On more pairs of its own task it is faithful; a task that the model does not do is refused by its name."""
    pairs = planted_pairs(organism, 10)
    search = CircuitSearch(steps=1, edges=3, held_out=False, exact=0)
    subject = subject_of(organism)
    found = find_circuit(subject, pairs[:5], search, others={"more": pairs[5:], "turned": turned(pairs)})
    more, swapped = found.others
    assert (more.name, more.pairs, swapped.pairs) == ("more", 5, 10)
    assert more.faithfulness.low > 0.8
    assert abs(more.random) < 0.2
    assert more.clean > 20 > -20 > more.empty
    assert f"On 5 pairs of 'more': faithfulness {more.faithfulness}" in found.summary()
    same = [PromptPair(pair.target, pair.target, "0", "1") for pair in pairs]
    with pytest.raises(
        ValueError, match=r"other task 'same': .* give prompts on which the model does something"
    ):
        find_circuit(subject, pairs, search, others={"same": same})


def turned(pairs):
    """Pairs whose clean prompts are the corrupted ones."""
    return [
        PromptPair(pair.target, pair.source, pair.target_answer, pair.source_answer, pair.group)
        for pair in pairs
    ]


def test_a_model_without_the_behaviour_is_refused(organism):
    """On an untrained model whose answers do not depend on the pair's difference there is nothing to explain."""
    pairs = [PromptPair(pair.target, pair.target, "0", "1") for pair in planted_pairs(organism, 6)]
    with pytest.raises(ValueError, match="give prompts on which the model does something else"):
        find_circuit(subject_of(organism).untrained(0), pairs)


@pytest.mark.parametrize("seed", [0, 1])
def test_an_untrained_organism_has_nothing_to_explain(seed):
    """Whether an untrained model is asked for a product or a sum makes no difference that is the same over pairs."""
    operands = [(a, b) for a in range(3, 10) for b in range(a + 1, 10) if a + b > 9]
    pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in operands]
    with pytest.raises(ValueError, match="give prompts on which the model does something else"):
        find_circuit(Subject.load("organism").untrained(seed), pairs, CircuitSearch(steps=1, exact=0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"edges": 0}, "edges is 0"),
        ({"exact": -1}, "exact is -1"),
        ({"faithful": 1.5}, "faithful is 1.5"),
        ({"ablation": "noise"}, "ablation 'noise' is unknown"),
    ],
)
def test_wrong_settings_are_refused_by_name(changes, said):
    """A setting out of range is named."""
    with pytest.raises(ValueError, match=said):
        CircuitSearch(**changes)


def test_what_has_no_circuit_is_refused_by_name(organism):
    """Too few pairs, more edges than there are, edges that lead nowhere and no pairs are refused."""
    subject, pairs = subject_of(organism), planted_pairs(organism, 4)
    with pytest.raises(ValueError, match="pairs in 3 groups cannot be halved"):
        find_circuit(subject, pairs[:3])
    with pytest.raises(ValueError, match="99999 edges cannot be kept"):
        find_circuit(subject, pairs, CircuitSearch(edges=99999))
    with pytest.raises(ValueError, match="none of the 1 edges with the largest scores leads to the logits"):
        find_circuit(subject, pairs, CircuitSearch(edges=1))
    with pytest.raises(ValueError, match="no pairs"):
        find_circuit(subject, [])
