"""Do the results for arithmetic hold for other tasks? The same study for sentiment, and for code versus prose.

Held-out reviews have other adjectives in another phrasing; held-out lines are other statements and sentences. Tokens
alone separate code from prose, so a bag of tokens is among the controls for decoding before training.
"""

import numpy as np
import pytest

from lazarus_probe.experiments.study_tasks import TASKS
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe


def decoded(task, subject, untrained_models, store, evidence):
    """A probe of the classes of a task at 55% depth, tested on held-out families."""
    items = TASKS[task].items(per_label=100)
    texts = [item.prompt for item in items]
    labels, families = (np.array([getattr(item, name) for item in items]) for name in ("label", "family"))
    site = resid_post(evidence.claim.layer_for(subject.name, subject.num_layers))
    return probe(
        subject,
        untrained_models,
        ProbeDataset(texts, labels, families),
        site,
        store=store,
        seed=evidence.seed,
    )


@pytest.mark.claim("sentiment-in-hidden-space")
def test_sentiment_in_hidden_space(subject, untrained_models, activations, evidence):
    evidence.record(decoded("sentiment", subject, untrained_models, activations, evidence))


@pytest.mark.claim("code-in-hidden-space")
def test_code_in_hidden_space(subject, untrained_models, activations, evidence):
    evidence.record(decoded("code", subject, untrained_models, activations, evidence))


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
