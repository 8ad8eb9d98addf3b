"""Vocabulary alignment, against the lens read by hand."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.interventions import steer
from lazarus_probe.hooks.replay import replay
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.vocabulary.alignment import vocabulary_alignment
from lazarus_probe.introspection.vocabulary.positive_controls import (
    Readable,
    capitals,
    word_direction,
    word_read,
)
from lazarus_probe.subject import Subject
from lazarus_probe.subject.spellings import spellings
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS
from tests.tolerance import of_logits, sole_best

CLAIM = Claim(
    id="test",
    statement="a",
    source="b",
    kind="absence",
    threshold=0.05,
    margin=0.5,
    minimum_groups=20,
    controls=("word_put_in", "capital_at_last_layer"),
)


@pytest.fixture(scope="module")
def words(organism):
    return {name: spellings(organism, name) for name in OPERATIONS}


def top(model, logits):
    """The token on top, where no other is within rounding of it."""
    row = np.array(logits)
    return sole_best(row, of_logits(model, row))


def asked_of(per_operation):
    return prompts.questions(np.random.default_rng(0), per_operation, phrasings=["compact"])


def test_spellings_are_the_word_alone(organism):
    """Every spelling is one token that decodes to the word, whatever its case or leading space."""
    for word in OPERATIONS:
        found = spellings(organism, word)
        assert len(found) == 4
        assert {organism.decode([token]).strip().lower() for token in found} == {word}


def test_rates_are_the_lens(organism, words):
    """The rate and that of capitals are those of `replay` on each prompt's own residual, one prompt at a time."""
    asked, readable = asked_of(5), capitals(organism)
    found = vocabulary_alignment(organism, asked, words, 4, readable)
    named, probabilities = [], []
    for question in asked:
        middle = replay(organism, trace(organism, question.text, capture="resid_post.4")["resid_post.4"])[
            0, -1
        ]
        tokens = words[question.fact.operation]
        named.append(top(organism, middle) in tokens)
        probabilities.append(float(mx.softmax(middle)[mx.array(tokens)].sum().item()))
    answered = [
        top(organism, trace(organism, ids).logits[0, -1]) == answer[0]
        for ids, answer in zip(readable.contexts, readable.answers, strict=True)
    ]
    assert found.score == pytest.approx(np.mean(named))
    assert found.controls[1].name == "capital_at_last_layer"
    assert found.controls[1].score == pytest.approx(np.mean(answered))
    assert np.mean(answered) > 0.9
    assert found.details["mean_probability"] == pytest.approx(np.mean(probabilities), rel=1e-3, abs=1e-9)


def test_a_word_put_in_is_a_run_with_the_push(organism, words):
    """What the control reads is what the lens reads in a run that is steered by hand along the same direction."""
    asked = asked_of(2)
    tokens, texts = (
        [words[question.fact.operation] for question in asked],
        [question.text for question in asked],
    )
    states = [
        np.array(trace(organism, text, capture="resid_post.4")["resid_post.4"])[0, -1] for text in texts
    ]
    size, start = float(np.mean([np.linalg.norm(state) for state in states])), np.mean(states, axis=0)
    expected = []
    for text, state, word in zip(texts, states, tokens, strict=True):
        along = word_direction(organism, start, word, size)
        push = steer("resid_post.4", np.linalg.norm(state) * along, positions=-1)
        run = trace(organism, text, capture="resid_post.4", interventions=push)
        expected.append(top(organism, replay(organism, run["resid_post.4"])[0, -1]) in word)
    assert word_read(organism, texts, tokens, 4).tolist() == expected
    assert any(expected)


def test_a_word_is_read_from_its_direction(organism, words):
    """From a word's direction alone, of unit length, the lens reads the word; from its unembedding row it may not."""
    start = np.random.default_rng(0).normal(size=128).astype(np.float32)
    for word in words.values():
        along = word_direction(organism, start, word, 10.0)
        assert np.linalg.norm(along) == pytest.approx(1, abs=1e-5)
        assert top(organism, replay(organism, mx.array(10 * along)[None, None])[0, 0]) in word
    row = organism.anatomy.embedding(mx.array([[organism.single_token(" Multiply")]]))
    assert top(organism, replay(organism, row)[0, 0]) not in words["multiply"]


def test_nothing_put_in_is_the_lens(organism, words):
    """Of strength 0 the control is the score itself: no word is read that is not there."""
    found = vocabulary_alignment(organism, asked_of(5), words, 4, capitals(organism), strength=0.0)
    assert found.controls[0].score == found.score == 0
    assert judge(CLAIM, found).outcome is not Outcome.SUPPORTED


def test_an_absence_is_supported_where_the_lens_reads(organism, words):
    """The organism names no operation, and its lens reads the word once it is there and capitals at the last layer."""
    asked = prompts.questions(np.random.default_rng(0), 60, phrasings=["spaced"])
    found = vocabulary_alignment(organism, asked, words, 4, capitals(organism))
    assert judge(CLAIM, found).outcome is Outcome.SUPPORTED


def test_untrained_models_show_no_absence(organism, words):
    """Null: the lens of an untrained model reads a word put there, but no capital, and so shows no absence."""
    for seed in range(3):
        untrained = organism.untrained(seed)
        found = vocabulary_alignment(untrained, asked_of(12), words, 4, capitals(untrained))
        assert found.controls[1].score < 0.1
        assert judge(CLAIM, found).outcome is Outcome.CONFOUNDED


@pytest.fixture(scope="module")
def blind(make_llama, tokenizer):
    """A lens that reads nothing before the last block: the blocks below it write a token that outweighs all others."""
    model = make_llama(0, hidden_size=32, vocab_size=64, tie_word_embeddings=False)
    head = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    head[:, 0], head[5, 0] = 0, 1000
    model.lm_head.weight = mx.array(head)
    table = np.array(model.model.embed_tokens.weight)
    table[:, 0] = 50
    model.model.embed_tokens.weight = mx.array(table)
    return Subject.from_model(model, tokenizer, "blind")


def test_a_lens_that_cannot_read_its_layer_is_found(blind):
    """Where one token outweighs whatever is written there, the word put in is not read, and so no absence is shown."""
    texts = [f"{a} + {b}" for a in range(4) for b in range(4)]
    assert word_read(blind, texts, [[7]] * len(texts), 1).mean() == 0
    assert word_read(blind, texts, [[5]] * len(texts), 1).mean() == 1


def test_capitals_are_those_of_countries(organism):
    """Each country three times, as a unit, with the token that begins its capital; in a chat the answer is begun."""
    plain, chat = capitals(organism), capitals(organism, chat=True)
    assert len(plain.contexts) == 3 * len(set(plain.units)) == 120
    assert organism.decode(plain.answers[plain.units.index("France")]).strip() == "Paris"
    assert plain.answers == chat.answers
    assert len(chat.contexts[0]) > len(plain.contexts[0])
    assert isinstance(plain, Readable)


def test_a_capital_of_several_tokens_is_read_whole(grouped):
    """Every token of an answer must be on top where it is to come next; one wrong token at its end fails."""
    contexts = [grouped.encode("the cat "), grouped.encode("Paris is ")]
    greedy_tokens = []
    for ids in contexts:
        tokens: list[int] = []
        for _ in range(3):
            tokens.append(top(grouped, grouped.model(mx.array([[*ids, *tokens]]))[0, -1]))
        greedy_tokens.append(tokens)
    wrong = [*greedy_tokens[1][:2], (greedy_tokens[1][2] + 1) % 60]
    readable = Readable("two", contexts, [greedy_tokens[0], wrong], ["a", "b"])
    assert readable.read(grouped).tolist() == [True, False]


def test_a_missing_class_word_is_named(organism):
    """An operation whose word is no token is refused by name."""
    with pytest.raises(ValueError, match="no spelling of add is a single token"):
        vocabulary_alignment(
            organism,
            asked_of(2),
            {name: [] if name == "add" else [1] for name in OPERATIONS},
            4,
            capitals(organism),
        )
