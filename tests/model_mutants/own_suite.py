"""A suite of two cheap claims: how sure the model is on its prompts, and how far each block turns the residual."""

OWN = """
import mlx.core as mx
import numpy as np
import pytest
from lazarus_probe import rate, trace

PROMPTS = [f"{a}{sign}{b}=" for sign in "*+" for a in range(1, 10) for b in range(1, 10)]
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


@pytest.mark.claim(id="block-turns-the-stream", **FIELDS)
def test_turn(subject, layer, evidence):
    sites = [f"resid_pre.{layer}", f"resid_post.{layer}"]
    read = trace(subject, PROMPTS, capture=sites, positions="last")
    before, after = (np.array(read[site]).reshape(len(PROMPTS), -1) for site in sites)
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    recorded(evidence, (1 - (before * after).sum(axis=1) / lengths) / 2)
"""
