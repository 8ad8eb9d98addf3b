"""The real analyses, judged as real claims, find what was planted at its layer and nothing at any other."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from draws import OF_A_LENS, OF_A_PROBE, operands, own_answers, subject_of

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.ablation.config import AblationType
from lazarus_probe.introspection.ablation.differential import differential_ablation, grade
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.introspection.patching.transfer import transfer
from lazarus_probe.introspection.probing.emergence import emergence
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.introspection.vocabulary.alignment import vocabulary_alignment
from lazarus_probe.organisms import planted
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import ControlModels, control_models
from lazarus_probe.subject.spellings import spellings
from lazarus_probe.sweep import Donors, answer, sweep
from lazarus_probe.tasks.arithmetic import Fact
from lazarus_probe.tasks.prompts import Question
from tests.cases import slow_except

LAYERS = 4
EVERY = range(LAYERS)
FIRST, SECOND, LAST = 1, 3, 4  # positions in a prompt: the operands, and the `=`


def outcome(kind: str, threshold: float, controls: tuple[str, ...], found: Measurement) -> Outcome:
    """The verdict on a claim as one would declare it."""
    claim = Claim(
        id="planted",
        statement="what was planted is found",
        source="weights set by hand",
        kind=kind,
        threshold=threshold,
        margin=0.1,
        controls=controls,
    )
    return judge(claim, found).outcome


def grid(circuit: planted.Planted, rng: np.random.Generator, size: int) -> ProbeDataset:
    """All pairs of some first and second operands, half of either with each hidden sign, and what the model says."""
    signs = planted.distractor(0)  # says the sign of its first operand, which is the same in every circuit
    drawn = operands(rng, 20 * size)
    one, other = ([n for n in drawn if signs.answer(n, n) == sign] for sign in (0, 1))
    firsts, seconds = one[: size // 2] + other[: size // 2], one[-size // 2 :] + other[-size // 2 :]
    pairs = list(product(firsts, seconds))
    return ProbeDataset(
        [planted.prompt(a, b) for a, b in pairs],
        np.array([circuit.answer(a, b) for a, b in pairs]),
        np.array([f"{a},{b}" for a, b in pairs]),
    )


def labelled_by(circuit: planted.Planted, size: int = 10) -> tuple[Subject, ControlModels, ProbeDataset]:
    subject = subject_of(circuit)
    return subject, control_models(subject), grid(circuit, np.random.default_rng(0), size)


@pytest.mark.parametrize("layer", slow_except(EVERY, 1))
def test_decodable_from_its_layer_on(layer):
    """A probe finds the product at the planted layer and after it, and at no layer before."""
    subject, untrained, labelled = labelled_by(planted.decodable(layer))
    store = ActivationStore()
    for at in EVERY:
        found = probe(subject, untrained, labelled, Site("resid_post", at), store=store)
        supported = outcome("decodability", 0.8, OF_A_PROBE, found) is Outcome.SUPPORTED
        assert supported == (at >= layer), (at, found)


@pytest.mark.parametrize("layer", slow_except(EVERY, 2))
def test_emerges_at_its_layer(layer):
    """The search over layers, confirmed on other prompts, finds the planted layer."""
    found = emergence(*labelled_by(planted.decodable(layer), 14), threshold=0.8, margin=0.1)
    assert found.details["layer"] == layer
    assert outcome("emergence", 0.8, (*OF_A_PROBE, "layer_before"), found) is Outcome.SUPPORTED


@pytest.mark.parametrize(("layer", "declared"), [(1, 0), (1, 2), (3, 2), (0, 3)])
def test_does_not_emerge_elsewhere(layer, declared):
    """An emergence declared for another layer is not supported, whether it lies before or after."""
    subject, untrained, labelled = labelled_by(planted.decodable(layer))
    found = emergence(subject, untrained, labelled, threshold=0.8, margin=0.1, layer=declared)
    verdict = outcome("emergence", 0.8, (*OF_A_PROBE, "layer_before"), found)
    assert verdict is (Outcome.CONFOUNDED if declared > layer else Outcome.REFUTED)


@pytest.mark.parametrize("layer", slow_except(EVERY, 0))
def test_a_distractor_is_confounded(layer):
    """What a bag of tokens has too is called confounded, however sharply it emerges at a layer."""
    subject, untrained, labelled = labelled_by(planted.distractor(layer))
    found = probe(subject, untrained, labelled, Site("resid_post", layer))
    assert found.score > 0.95
    assert outcome("decodability", 0.8, OF_A_PROBE, found) is Outcome.CONFOUNDED
    found = emergence(subject, untrained, labelled, threshold=0.8, margin=0.1, layer=layer)
    assert {control.name: control for control in found.controls}["bag_of_tokens"].gain < 0.1
    assert outcome("emergence", 0.8, (*OF_A_PROBE, "layer_before"), found) is Outcome.CONFOUNDED


HARD = range(1, 400)


def gap(
    circuit: planted.Planted, method: AblationType = AblationType.MEAN, per_kind: int = 60
) -> Measurement:
    """Differential ablation on hard questions and easy ones; those between are as easy."""
    rng, subject = np.random.default_rng(0), subject_of(circuit)
    easy = [number for number in planted.NUMBERS if number not in HARD]
    seconds = {"hard": list(HARD), "easy": easy, "between": easy}
    asked = [
        (int(a), int(b), kind)
        for kind, pool in seconds.items()
        for a, b in zip(rng.choice(easy, per_kind), rng.choice(pool, per_kind, replace=False), strict=True)
    ]
    texts = [planted.prompt(a, b) for a, b, _ in asked]
    families = [f"{a},{b}" for a, b, _ in asked]
    graded = grade(subject, texts, [a for a, _, _ in asked], [kind for _, _, kind in asked], families)
    return differential_ablation(subject, graded, "hard", "easy", "between", method=method)


@pytest.mark.parametrize(
    "method", [AblationType.MEAN, *slow_except([AblationType.RESAMPLE, AblationType.ZERO], AblationType.ZERO)]
)
@pytest.mark.parametrize("layer", slow_except(EVERY, 2))
def test_the_gate_is_found(layer, method):
    """Ablation finds the layer that only the hard class needs; no other layer breaks anything."""
    found = gap(planted.gates({layer: HARD}), method)
    assert found.details["layer"] == layer
    assert outcome("causal_necessity", 0.5, ("random_neurons", "between"), found) is Outcome.SUPPORTED
    broken = {curve.name: curve.y for curve in found.curves}
    np.testing.assert_array_equal(np.array(broken["hard broken"]) > 0, np.arange(LAYERS) == layer)
    np.testing.assert_array_equal(broken["easy broken"], 0)


def test_no_gate_where_none_was_planted():
    """A model whose MLPs do nothing for its answers has no gate of hard questions."""
    found = gap(planted.router(1))
    assert outcome("causal_necessity", 0.5, ("random_neurons", "between"), found) is Outcome.REFUTED


def copied(count: int) -> list[PromptPair]:
    """Pairs of prompts with different first operands."""
    drawn = np.array(operands(np.random.default_rng(0), 4 * count)).reshape(4, count).T.tolist()
    return [PromptPair(planted.prompt(a, b), planted.prompt(c, d), a, c) for a, b, c, d in drawn]


@pytest.mark.parametrize("layer", slow_except(EVERY, 1))
def test_the_route_is_found(layer):
    """Patching moves the answer at the first operand before the routing layer, at the `=` from it on, nowhere else."""
    subject, pairs = subject_of(planted.router(layer, 1)), copied(40)
    families = [str(index) for index in range(len(pairs))]
    for at, place in ((layer, LAST), (layer, FIRST), (max(layer - 1, 0), FIRST), (max(layer - 1, 0), LAST)):
        parts = {"operands": [FIRST, SECOND]} if place == LAST else {"answer": [LAST]}
        found = transfer(subject, pairs, at, place, families, parts=parts)
        verdict = outcome("causal_sufficiency", 0.8, ("random_position", "other_pair", *parts), found)
        # The control of the parts finds the answer exactly where the claim's own position does not have it.
        assert found.controls[2].score == 1 - found.score
        expected = place == (LAST if at >= layer else FIRST)
        assert verdict is (Outcome.SUPPORTED if expected else Outcome.REFUTED), (at, place)
    wanted = [[at < layer, False, False, at >= layer] for at in EVERY]
    np.testing.assert_array_equal(found.grids[0].values, wanted)


@pytest.mark.parametrize(("layer", "head"), [(0, 0), (1, 2), (2, 1), (3, 0)])
def test_the_head_is_found(layer, head):
    """Of all heads, patching exactly the planted one at the `=` brings the source's answer."""
    subject, pairs = subject_of(planted.router(layer, head)), copied(20)
    heads = list(product(EVERY, range(4)))
    found = sweep(
        subject,
        [pair.target for pair in pairs],
        [Site("head_out", at, other) for at, other in heads],
        sources={"source": Donors([pair.source for pair in pairs])},
        metrics=[answer(2)],
        positions=[LAST],
    )
    moved = (
        found.values["answer"][:, 0, :, 0] == np.array([str(pair.source_answer) for pair in pairs])[:, None]
    )
    assert moved.mean(0).tolist() == [(at, other) == (layer, head) for at, other in heads]


@pytest.mark.parametrize("layer", slow_except(range(LAYERS - 1), 1))
def test_an_announced_word_is_no_absence(layer):
    """From the planted layer to the last but one the absence of the word is refuted; elsewhere it is supported."""
    subject = subject_of(planted.announcer(layer, planted.NUMBERS))
    facts = [Fact("multiply", a, 1) for a in operands(np.random.default_rng(0), 60)]
    questions = [Question(fact.prompt("compact"), fact, "compact") for fact in facts]
    for at in EVERY:
        words, readable = {"multiply": spellings(subject, "multiply")}, own_answers(subject, questions)
        found = vocabulary_alignment(subject, questions, words, at, readable)
        verdict = outcome("absence", 0.1, OF_A_LENS, found)
        announced = layer <= at < LAYERS - 1
        assert verdict is (Outcome.REFUTED if announced else Outcome.SUPPORTED)
