"""A suite of two cheap claims: what the model says on its prompts, and what its middle block writes there."""

OWN = """
import mlx.core as mx
import numpy as np
import pytest
from lazarus_probe import rate, trace

PROMPTS = [f"{a}{sign}{b}=" for sign in "*+" for a in range(1, 10) for b in (2, 5, 8)]
FIELDS = {
    "statement": "It is so.", "source": "a paper", "family": "all", "kind": "causal_sufficiency",
    "threshold": 0.5, "margin": 0.1, "controls": ["nothing"],
}


def recorded(evidence, values):
    values = np.array(values, dtype=np.float64)
    evidence.record(rate("share", values, np.arange(len(values)), {"nothing": np.zeros(len(values))}))


@pytest.mark.claim(id="says-it-surely", **FIELDS)
def test_sure(subject, evidence):
    logits = subject.model(mx.array([subject.encode(prompt) for prompt in PROMPTS]))[:, -1]
    recorded(evidence, mx.softmax(logits, axis=-1).max(axis=-1))


@pytest.mark.claim(id="middle-block-writes-one-way", **FIELDS)
def test_middle(subject, evidence):
    sites = [f"resid_post.{layer}" for layer in range(subject.num_layers)]
    read = trace(subject, PROMPTS, capture=sites, positions="last")
    rows = np.stack([np.array(read[site]).reshape(len(PROMPTS), -1) for site in sites], axis=1)
    sizes = np.linalg.norm(np.diff(rows, axis=1), axis=-1) / np.linalg.norm(rows[:, 1:], axis=-1)
    recorded(evidence, np.tanh(sizes[:, 1:4]).mean(axis=1))
"""
