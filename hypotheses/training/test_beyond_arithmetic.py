"""Do the results for arithmetic hold for other tasks? The same study for sentiment, and for code versus prose.

Decoding before training is asked of 160 adjectives and of a hundred lines, so that all of them read can pass the
threshold. Every adjective comes as it says and turned round (`anything but great`), so that token embeddings do not
tell the sentiment. Lines of code and sentences share words and hold no sign, so that a bag of tokens does not tell them
apart. After training, held-out reviews have other adjectives in another phrasing, and held-out lines are other
statements.
"""

import pytest

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.probing.probe import ProbeDataset
from lazarus_probe.tasks import further_language


def reviews(rng):
    """Reviews by their sentiment; an adjective is never split between train and test."""
    drawn = further_language.reviews(rng)
    return ProbeDataset(
        [review.prompt for review in drawn],
        [review.response.strip() for review in drawn],
        groups=[review.subject for review in drawn],
    )


def lines():
    """Beginnings of lines, of code or of prose; a line is never split between train and test."""
    beginnings = list(further_language.lines())
    return ProbeDataset(
        [line.prompt for line in beginnings],
        [line.task for line in beginnings],
        groups=[line.subject for line in beginnings],
    )


@pytest.mark.claim("sentiment-in-hidden-space")
def test_sentiment_in_hidden_space(subject, evidence, probed, rng):
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    evidence.record(probed(reviews(rng), resid_post(layer)))


@pytest.mark.claim("code-in-hidden-space")
def test_code_in_hidden_space(subject, evidence, probed):
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    evidence.record(probed(lines(), resid_post(layer)))


@pytest.mark.training
@pytest.mark.claim("sentiment-vo-creates-class-words")
def test_sentiment_vo(evidence, measured):
    evidence.record(measured)


@pytest.mark.training
@pytest.mark.claim("sentiment-qk-names-less-than-vo")
def test_sentiment_qk(evidence, measured):
    evidence.record(measured)


@pytest.mark.training
@pytest.mark.claim("code-vo-creates-class-words")
def test_code_vo(evidence, measured):
    evidence.record(measured)


@pytest.mark.training
@pytest.mark.claim("code-qk-names-less-than-vo")
def test_code_qk(evidence, measured):
    evidence.record(measured)
