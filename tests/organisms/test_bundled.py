"""The bundled models are ordinary checkpoints that know what their card says."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.organisms import bundled, corpus
from lazarus_probe.subject.generate import forward, greedy
from lazarus_probe.subject.load import num_layers_of
from lazarus_probe.subject.subject import Subject
from lazarus_probe.tasks.arithmetic import is_answer

PROMPTS = ["7 * 8 = ", "47*47=", "What is seven times eight?", "The capital of France is", "héllo 😀"]


@pytest.fixture(scope="module", params=bundled.NAMES)
def model(request):
    return Subject.load(request.param)


def test_small_enough():
    """Each checkpoint is at most 16 MiB, and at least 8 layers deep, so that 55% of the depth means something."""
    for name in bundled.names():
        assert sum(file.stat().st_size for file in bundled.path(name).iterdir()) <= 16 * 2**20
        assert num_layers_of(name) >= 8


def test_mlx_lm_loads_it(model):
    """`mlx_lm.load` gives the same logits, bit for bit."""
    import mlx.core as mx
    from mlx_lm import load

    theirs, tokenizer = load(str(model.path))
    for prompt in PROMPTS:
        tokens = mx.array([tokenizer.encode(prompt)])
        assert tokens.tolist()[0] == model.encode(prompt)
        assert mx.array_equal(forward(theirs, tokens), forward(model.model, tokens))


def test_the_written_out_llama_agrees(model, naive):
    """A Llama in float64 NumPy, written out by hand, gives the same logits to 1e-4."""
    for prompt in PROMPTS:
        tokens = np.array([model.encode(prompt)])
        expected = naive(model.model, tokens)["logits"]
        found = np.array(forward(model.model, model_tokens(tokens)))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def model_tokens(tokens):
    import mlx.core as mx

    return mx.array(tokens)


def test_transformers_agrees(model):
    """The library transformers tokenises alike and gives the same logits to 1e-4; with the extra `torch`."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(model.path)
    for prompt in PROMPTS:
        ids = tokenizer(prompt)["input_ids"]
        assert ids == model.encode(prompt)
        with torch.no_grad():
            expected = theirs(torch.tensor([ids])).logits.numpy()
        np.testing.assert_allclose(np.array(forward(model.model, model_tokens([ids]))), expected, atol=1e-4)


def test_versions_differ_in_what_they_know():
    """The organism has learned its arithmetic, its early checkpoint has not: findings can change between them."""
    facts = [
        line for op in ("multiply", "add") for line in corpus.split(op).trained if line.phrasing == "compact"
    ]
    drawn = [facts[i] for i in np.random.default_rng(0).choice(len(facts), 200, replace=False)]
    right = {}
    for name in bundled.NAMES:
        texts = greedy(Subject.load(name), [line.prompt for line in drawn], 4)
        right[name] = np.mean(
            [is_answer(t, float(line.response)) for t, line in zip(texts, drawn, strict=True)]
        )
    assert right["organism"] >= 0.99
    assert right["organism-early"] < 0.5
