"""Probes with controls: what is planted is found, what needs no model is not claimed."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.probe import Labelled, decode
from lazarus_probe.statistics import out_of_fold_classification

CLAIM = Claim(
    id="test",
    statement="a",
    source="b",
    family="c",
    kind="decodability",
    threshold=0.7,
    margin=0.05,
    controls=("majority", "bag_of_tokens", "untrained", "shuffled_labels"),
)


def letters(seed: int, count: int = 120) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Random strings, whether there is an `a` in them, and groups of one label each."""
    rng = np.random.default_rng(seed)
    texts = ["".join(rng.choice(list("abcdefgh"), size=6)) for _ in range(count)]
    labels = np.array(["a" in text for text in texts])
    return texts, labels, np.arange(count) // 8 * 2 + labels


def test_what_the_tokens_say_is_confounded(grouped):
    """A label that is a matter of tokens is read by a bag of tokens too, and so is no finding."""
    texts, labels, groups = letters(0)
    found = decode(grouped, grouped.untrained(1), Labelled(texts, labels, groups, at="mean"), Site("embed"))
    assert judge(CLAIM, found).outcome in (Outcome.CONFOUNDED, Outcome.INCONCLUSIVE)
    assert found.best_control is not None
    assert found.best_control.gain < 0.05


@pytest.mark.parametrize("seed", range(10))
def test_random_labels_are_never_supported(grouped, seed):
    """On labels drawn at random no claim is supported: some control does as well."""
    texts, _, groups = letters(seed)
    labels = np.random.default_rng(seed).integers(2, size=groups.max() + 1)[groups]
    found = decode(
        grouped, grouped.untrained(1), Labelled(texts, labels, groups), Site("resid_post", 2), seed=seed
    )
    assert judge(CLAIM, found).outcome is not Outcome.SUPPORTED
    assert min(control.low for control in found.controls) < CLAIM.margin


def test_planted_signal_is_supported(grouped):
    """A model whose embedding knows more than its tokens' identity is found, with every control below it."""
    rng = np.random.default_rng(0)
    # Each prompt is one token that no other prompt has; its label is a direction of its embedding.
    tokens = rng.permutation(np.arange(2, 58))
    labels = (tokens % 2).astype(bool)
    weights = grouped.model.model.embed_tokens.weight
    planted = np.array(weights)
    planted[tokens, 0] = np.where(labels, 6.0, -6.0)
    model = type(grouped.model)(grouped.model.args)
    model.update(grouped.model.parameters())
    model.model.embed_tokens.weight = type(weights)(planted)
    subject = type(grouped).from_model(model, grouped.tokenizer, "planted")
    prompts = [[0, int(token)] for token in tokens]
    found = decode(subject, grouped.untrained(1), Labelled(prompts, labels, tokens), Site("embed"))
    assert judge(CLAIM, found).outcome is Outcome.SUPPORTED, judge(CLAIM, found)


def test_score_is_the_plain_probes(grouped):
    """The score is the share of out-of-fold predictions that are right, computed by hand."""
    texts, labels, groups = letters(3)
    found = decode(
        grouped, grouped.untrained(1), Labelled(texts, labels, groups), Site("resid_post", 1), seed=5
    )
    from lazarus_probe.hooks.activations import collect

    features = collect(grouped, texts, [Site("resid_post", 1)])[Site("resid_post", 1)]
    assert found.score == pytest.approx(
        (out_of_fold_classification(features, labels, groups, seed=5) == labels).mean()
    )


def test_a_probe_without_groups_is_refused(grouped):
    """No groups is an error in one line that says what to give."""
    texts, labels, _ = letters(0)
    with pytest.raises(ValueError, match="no groups is refused"):
        decode(grouped, grouped.untrained(1), Labelled(texts, labels, None), Site("embed"))


def test_no_prompts_is_refused(grouped):
    """An empty prompt list is named as such."""
    with pytest.raises(ValueError, match="prompts"):
        decode(grouped, grouped.untrained(1), Labelled([], np.array([]), np.array([])), Site("embed"))
