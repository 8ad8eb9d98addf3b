"""What a probe is given: leaks between groups are refused, embeddings are those of the whole prompt."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.inputs import embedding_features, probe_inputs
from lazarus_probe.introspection.probing.leaks import check_leaks
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.subject import span
from lazarus_probe.subject.control_models import LESIONS, control_models
from tests.cases import slow_except

PAIRS = [(a, b) for a in range(2, 9) for b in range(a + 1, 9)]
BOTH = [f"{a} * {b} = " for pair in PAIRS for a, b in (pair, pair[::-1])]
EMBED = Site("embed")


def test_spans_and_several_positions_are_read(organism):
    """A span is read as its mean and several positions side by side; embeddings are those up to the last one read."""
    numbers = [1000 + 37 * i for i in range(12)]
    texts = [f"x {number} + {i + 2} = " for i, number in enumerate(numbers)]
    where = [span(organism, text, str(number)) for text, number in zip(texts, numbers, strict=True)]
    assert {len(place) for place in where} == {2}
    site, store = resid_post(1), ActivationStore()
    for at in (where, [place.positions for place in where], [place.last for place in where]):
        dataset = ProbeDataset(texts, np.array(numbers, float), numbers, at=at)
        inputs = probe_inputs(organism, control_models(organism), dataset, [site], "regression", store)[site]
        expected = collect(organism, texts, [site], at=at)[site].reshape(len(texts), -1)
        np.testing.assert_allclose(inputs.features, expected, atol=1e-5)
        until = [organism.encode(text)[: place.stop] for text, place in zip(texts, where, strict=True)]
        for ours, theirs in zip(
            inputs.embeddings[1:], embedding_features(organism, until, store), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert dataset.take(np.array([3, 1])).at == [at[3], at[1]]


def leaks(texts, groups, facts=None):
    dataset = ProbeDataset(texts, np.zeros(len(texts)), groups, facts=facts)
    check_leaks(texts, [str(text) for text in texts], dataset.groups, dataset.facts)


def test_both_orders_in_two_groups_are_refused():
    """a*b and b*a of different groups are named, with what to group by; in one group they pass."""
    with pytest.raises(
        ValueError, match=r"'3 \* 7 = ' of group 0 and '7 \* 3 = ' of group 1 have the same words.*sorted"
    ):
        leaks(["3 * 7 = ", "7 * 3 = "], [0, 1])
    leaks(["3 * 7 = ", "7 * 3 = ", "3 + 7 = "], [0, 0, 1])


@pytest.mark.parametrize(
    "texts",
    [("red dog", "dog red"), ("same", "same"), ([4, 5, 6], [6, 5, 4]), ("is 2 or 10?", "is 10 or 2?")],
)
def test_the_same_words_in_two_groups_are_refused(texts):
    """Equal prompts and equal bags of words or of token ids are refused."""
    with pytest.raises(ValueError, match="have the same words"):
        leaks(list(texts), [0, 1])


@pytest.mark.parametrize("texts", [("12 * 34 = ", "13 * 24 = "), ("dog", "god")])
def test_other_words_of_the_same_letters_are_no_leak(texts):
    """Numbers of the same digits and words of the same letters are other prompts."""
    leaks(list(texts), [0, 1])


def test_the_same_fact_in_two_groups_is_refused():
    """Where facts are given, prompts in other words about the same one are found too."""
    texts = ["3 times 7", "multiply seven by three"]
    leaks(texts, [0, 1])
    with pytest.raises(ValueError, match="have the same fact"):
        leaks(texts, [0, 1], facts=[(3, 7), (3, 7)])


def test_a_probe_of_leaking_groups_is_refused(grouped):
    """`probe` looks before it probes."""
    labelled = ProbeDataset(BOTH, np.arange(len(BOTH)) % 2, np.arange(len(BOTH)))
    with pytest.raises(ValueError, match="have the same words"):
        probe(grouped, control_models(grouped, count=3), labelled, EMBED)


@pytest.mark.parametrize("draws", slow_except([20, 60], 20))
def test_random_labels_of_sorted_operands_are_no_finding(grouped, monkeypatch, draws):
    """Of random labellings of pairs, both orders in one group, at most alpha are supported (exact interval)."""
    monkeypatch.setattr("lazarus_probe.statistics.probes.held_out.DRAWS", 59)
    controls = ("majority", "bag_of_tokens", "untrained", "shuffled_labels")
    claim = Claim(
        id="x", statement="s", source="s", kind="decodability", threshold=0.5, margin=0.01, controls=controls
    )
    alarms, store, models = 0, ActivationStore(), control_models(grouped, count=3)
    groups = np.repeat(np.arange(len(PAIRS)), 2)
    for seed in range(draws):
        labels = np.random.default_rng(seed).permutation(len(PAIRS))[groups] % 2
        labelled = ProbeDataset(BOTH, labels, groups, at="mean")
        alarms += judge(claim, probe(grouped, models, labelled, EMBED, store=store, seed=seed)).outcome is (
            Outcome.SUPPORTED
        )
    assert exact(alarms, draws).low <= 0.05, f"{alarms} of {draws}: {exact(alarms, draws)}"


def test_embeddings_are_those_of_all_positions(grouped):
    """The mean is that of each prompt's embeddings; side by side they stand by distance from the end."""
    prompts = [[5, 6, 7], [8, 7], [9, 6, 7]]
    mean, aligned = embedding_features(grouped, prompts, ActivationStore())
    table = np.array(grouped.model.model.embed_tokens.weight)
    np.testing.assert_allclose(mean, [table[ids].mean(axis=0) for ids in prompts], atol=1e-6)
    # The last token is the same in all and left out; the second prompt has no third from the end.
    expected = [[*table[6], *table[5]], [*table[8], *0 * table[0]], [*table[6], *table[9]]]
    np.testing.assert_allclose(aligned, expected, atol=1e-6)


def test_only_what_stands_before_the_place_is_seen(grouped):
    """A place in the middle is not compared with embeddings that no layer there has met."""
    rows = np.arange(16)
    prompts = [[2, 3 + row, 40 + row] for row in rows]
    labelled = ProbeDataset(prompts, rows % 2, rows // 2, at=1)
    inputs = probe_inputs(
        grouped,
        control_models(grouped, count=3),
        labelled,
        [resid_post(0)],
        "classification",
        ActivationStore(),
    )
    _, _, aligned = inputs[resid_post(0)].embeddings
    table = np.array(grouped.model.model.embed_tokens.weight)
    np.testing.assert_allclose(aligned, table[3 + rows], atol=1e-6)


def test_models_are_read_where_the_subject_is(grouped):
    """Each control model's features are those of its plain run; lesioned ones stand above the embedding only."""
    rows = np.arange(16)
    texts = [f"{row} + {row + 2} = " for row in rows]
    labelled = ProbeDataset(texts, rows % 2, rows // 2)
    models = control_models(grouped, count=3)
    inputs = probe_inputs(
        grouped, models, labelled, [EMBED, resid_post(2)], "classification", ActivationStore()
    )
    assert set(inputs[EMBED].models) == {"untrained"}
    assert set(inputs[resid_post(2)].models) == {"untrained", *LESIONS}
    for kind, features in inputs[resid_post(2)].models.items():
        for values, model in zip(features, control_models(grouped, kind, 3), strict=True):
            expected = collect(model.build(), texts, [resid_post(2)])[resid_post(2)]
            np.testing.assert_array_equal(values, expected)
