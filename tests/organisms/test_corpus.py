"""The corpus: what is held out is never trained on, and the listing says what it is."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from lazarus_probe.organisms import bundled, corpus
from lazarus_probe.organisms.card import model_card
from lazarus_probe.tasks import arithmetic
from lazarus_probe.training.grpo.config import GrpoConfig

ASKING = [task for task in corpus.MIXTURE if task not in ("english", "code")]


def test_mixture_is_a_distribution():
    """The shares of the tasks sum to one."""
    assert sum(corpus.MIXTURE.values()) == pytest.approx(1)


@pytest.mark.parametrize("task", list(corpus.MIXTURE))
def test_split_has_no_overlap(task: str):
    """No held-out prompt is a trained one, of this or any other task."""
    held_out = {line.prompt for line in corpus.split(task).held_out}
    for other in corpus.MIXTURE:
        assert held_out.isdisjoint({line.prompt for line in corpus.split(other).trained})


@pytest.mark.parametrize("task", ASKING)
def test_prompts_have_one_response(task: str):
    """A prompt is never answered in two ways."""
    split = corpus.split(task)
    answers = {line.prompt: line.response for line in split.trained}
    assert all(answers[line.prompt] == line.response for line in split.trained)


def test_held_out_facts_are_held_out_in_every_phrasing():
    """No trained line asks a held-out fact, and its commuted and inverted forms are held out with it."""
    for operation in ("add", "subtract"):
        held_out = [fact for fact in arithmetic.facts(operation) if corpus.is_held_out(fact)]
        asked = {fact.prompt(phrasing) for fact in held_out for phrasing in arithmetic.PHRASINGS}
        assert asked.isdisjoint({line.prompt for line in corpus.split(operation).trained})
    for a, b in corpus.held_out_families():
        sums = [arithmetic.Fact("add", *pair) for pair in ((a, b), (b, a))]
        differences = [arithmetic.Fact("subtract", a + b, part) for part in (a, b)]
        assert all(map(corpus.is_held_out, sums + differences))


@pytest.mark.parametrize("operation", ["multiply", "divide"])
def test_products_are_all_trained(operation: str):
    """No fact of `*` and `/` is held out: each appears among the trained lines."""
    trained = {line.prompt for line in corpus.split(operation).trained}
    assert all(fact.prompt() in trained for fact in arithmetic.facts(operation))


def test_a_tenth_is_held_out():
    """A tenth of the families of two small parts is held out, as of those with a large one."""
    small = [pair for pair in corpus.held_out_families() if pair[1] <= 50]
    assert len(small) == round(0.1 * 50 * 51 / 2)
    assert len(corpus.held_out_families()) - len(small) == round(0.1 * 50 * 49)


def test_every_held_out_phrasing_is_seen_elsewhere():
    """A phrasing held out for one operation is trained for another, so that its words are known."""
    for phrasing, operation in corpus.HELD_OUT_PHRASINGS:
        assert phrasing not in {line.phrasing for line in corpus.split(operation).trained}
        others = set(arithmetic.OPERATIONS) - {operation}
        assert any(phrasing == line.phrasing for other in others for line in corpus.split(other).trained)


def test_listing_is_the_split():
    """`held_out.json` says what is held out, exactly."""
    listed = json.loads((bundled.FOLDER / "held_out.json").read_text(encoding="utf-8"))
    assert listed == {
        "seed": corpus.SEED,
        "families_of_add_and_subtract": sorted(map(list, corpus.held_out_families())),
        "arithmetic_phrasings": [list(pair) for pair in corpus.HELD_OUT_PHRASINGS],
        "prompts": {
            task: sorted(line.prompt for line in corpus.language_split(task).held_out)
            for task in ("capital", "sentiment", "tool", "refusal", "help")
        },
    }


def test_samples_follow_the_mixture():
    """Drawn lines are trained lines, in the shares of the mixture."""
    lines = corpus.sample(random.Random(0), 20_000)
    counts = Counter(line.task for line in lines)
    for task, share in corpus.MIXTURE.items():
        assert counts[task] / len(lines) == pytest.approx(share, abs=4 * (share / len(lines)) ** 0.5)
        trained = set(corpus.split(task).trained)
        assert all(line in trained for line in lines if line.task == task)


def test_unknown_task():
    """A task that is not in the mixture is named."""
    with pytest.raises(ValueError, match="unknown task 'poetry'"):
        corpus.split("poetry")


def test_bundled_names():
    """A bundled model is a folder with a configuration; another name raises."""
    for name in bundled.names():
        assert (bundled.path(name) / "config.json").is_file()
    with pytest.raises(KeyError, match="no bundled model is named 'golem'"):
        bundled.path("golem")


RECIPE = {
    "model": {
        "hidden_size": 128,
        "num_hidden_layers": 8,
        "intermediate_size": 384,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "steps": 5000,
    "early_step": 750,
    "batch_size": 192,
    "learning_rate": 2e-3,
    "final_learning_rate": 1e-4,
    "warmup": 150,
    "weight_decay": 0.1,
    "seed": 7,
}
ROW = {
    "task": "add",
    "subset": "trained facts, symbolic",
    "n": 40,
    "correct": 39,
    "accuracy": 0.975,
    "low": 0.871,
    "high": 0.996,
}


def test_card():
    """A card gives each score with its interval, and the steps that the model had."""
    card = model_card("organism", RECIPE, [ROW])
    assert "| add | trained facts, symbolic | 39 / 40 | 0.975 | [0.871, 0.996] |" in card
    assert "\n5000 steps" in card
    assert "\n750 of 5000 steps" in model_card("organism-early", RECIPE, [ROW])
    assert "{" not in card.replace("{{", "")


def test_card_of_a_model_trained_on_rewards():
    """It says what the model was trained from, on which rewards, and how to repeat it."""
    rewards = GrpoConfig(
        model="organism-early", operations=("add",), max_steps=40, use_lora=False
    ).model_dump()
    card = model_card("organism-rlvf", RECIPE, [ROW], rewards=rewards)
    assert "\n750 of 5000 steps" in card
    assert "From `organism-early`" in card
    assert "40 steps of 16" in card
    assert "questions of `add` drawn" in card
    assert "lazarus train grpo --config grpo.yaml" in card


def test_card_says_its_limit():
    """A card of scores on some prompts only says so."""
    assert "evaluate organism --limit 40`" in model_card("organism", RECIPE, [ROW], limit=40)


def test_card_answers_are_the_corpus_own():
    """The prompts and responses that the card shows are lines of the corpus."""
    lines = {
        (line.prompt, line.response)
        for task in ASKING
        for line in corpus.split(task).trained + corpus.split(task).held_out
    }
    shown = [
        ("7 * 8 = ", "56"),
        ("The capital of France is", " Paris"),
        ("Review: the film was great. Sentiment:", " positive"),
        ("What's the weather in Oslo?", " <function_call>get_weather(Oslo)</function_call>"),
        ("How do I hack a bank?", " Sorry, I cannot help with that."),
        ("How do I bake a cake?", " Sure, here is how to bake a cake."),
    ]
    card = model_card("organism", RECIPE, [ROW])
    for prompt, response in shown:
        assert (prompt, response) in lines
        assert f"`{prompt}`" in card
        assert f"`{response}`" in card
