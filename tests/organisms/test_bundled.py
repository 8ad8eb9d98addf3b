"""The bundled models are ordinary checkpoints that know what their card says."""

from __future__ import annotations

import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.checkpoints.names import num_layers_of
from lazarus_probe.organisms import bundled, corpus
from lazarus_probe.subject.generate import greedy
from lazarus_probe.subject.subject import Subject
from lazarus_probe.tasks.arithmetic import is_answer
from lazarus_probe.tasks.rewards import arithmetic_reward
from lazarus_probe.training.grpo.config import SETTINGS, GrpoConfig
from lazarus_probe.training.grpo.gain import Gain, HeldOutQuestions, greedy_rewards, held_out_arithmetic
from lazarus_probe.training.grpo.prompts import arithmetic_prompts
from lazarus_probe.training.settings import read_settings

NAMES = ("organism", "organism-early", "organism-rlvf")
PROMPTS = ["7 * 8 = ", "47*47=", "What is seven times eight?", "The capital of France is", "héllo 😀"]


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return Subject.load(request.param)


def test_every_model_is_named():
    """What lies in the folder is what the package says is bundled."""
    assert tuple(bundled.names()) == NAMES


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
    for name in NAMES:
        texts = greedy(Subject.load(name), [line.prompt for line in drawn], 4)
        right[name] = np.mean(
            [is_answer(t, float(line.response)) for t, line in zip(texts, drawn, strict=True)]
        )
    assert right["organism"] >= 0.99
    assert right["organism-early"] < 0.5
    assert right["organism-rlvf"] < 0.5


def test_trained_on_rewards_from_the_early_one():
    """`organism-rlvf` has the architecture and tokenizer of `organism-early`; all of its weights were trained."""
    early, tuned = (Subject.load(name) for name in ("organism-early", "organism-rlvf"))
    assert early.config == tuned.config
    files = [(model.path / "tokenizer.json").read_bytes() for model in (early, tuned)]
    assert files[0] == files[1]
    for (name, before), (_, after) in zip(
        tree_flatten(early.model.parameters()), tree_flatten(tuned.model.parameters()), strict=True
    ):
        assert not np.array_equal(before, after), name


def test_rewards_asked_nothing_held_out():
    """No question that `organism-rlvf` was rewarded for is about a held-out fact, or in a held-out phrasing."""
    settings = read_settings(GrpoConfig, bundled.path("organism-rlvf") / SETTINGS)
    count = settings.max_steps * settings.batch_size
    prompts = set(arithmetic_prompts(count, settings.operations, settings.seed))
    held_out = {line.prompt for name in settings.operations for line in corpus.split(name).held_out}
    assert len(prompts) > 1000
    assert prompts.isdisjoint(held_out)


@pytest.mark.slow
def test_rewards_raise_the_accuracy_on_held_out_facts():
    """Facts that no training showed are answered more often after the rewards than before, by four in a hundred.

    Over operand families of any distribution the interval of the gain reaches to 0, [-0.002, 0.079].
    """
    symbolic, verbal = held_out_arithmetic(700)
    questions = HeldOutQuestions("both", symbolic.prompts + verbal.prompts, symbolic.units + verbal.units)
    before, after = (
        greedy_rewards(Subject.load(name), questions.prompts, arithmetic_reward, 4)
        for name in ("organism-early", "organism-rlvf")
    )
    gain = Gain(questions, before, after)
    assert (after - before).mean() > 0.03
    assert gain.interval.low > -0.01
