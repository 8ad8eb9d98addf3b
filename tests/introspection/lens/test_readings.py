"""Whole answers by lens and layer, against a loop of plain forwards, token after token."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks import ActivationStore, replay, trace
from lazarus_probe.introspection.generation.continuation import with_answers
from lazarus_probe.introspection.lens.lens_emergence import curve_layers, lens_emergence, not_yet
from lazarus_probe.introspection.lens.readings import read_sets, read_tokens
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models
from tests.subject.small_tokenizers import byte_level

ASKED = [(f"{a}*{b}=", str(a * b)) for a, b in ((7, 8), (9, 9), (2, 3), (40, 30), (12, 12), (99, 99))]


@pytest.fixture(scope="module")
def digits(make_llama) -> Subject:
    """A random model with a token a digit, and one for 12: its answers have one to four tokens."""
    return Subject.from_model(make_llama(vocab_size=300), byte_level(["12"]), "digits")


def naive(
    subject: Subject, context: list[int], answer: list[int], layer: int
) -> tuple[float, int, list[int]]:
    """Probability, worst rank and top tokens of an answer: a forward for each token, and a softmax in NumPy."""
    chance, rank, tops = 1.0, 0, []
    for count, token in enumerate(answer):
        site = f"resid_post.{layer}"
        resid = trace(subject, [*context, *answer[:count]], site)[site][:, -1:]
        logits = np.array(replay(subject, resid).astype(mx.float32))[0, 0].astype(np.float64)
        shares = np.exp(logits - logits.max())
        chance *= shares[token] / shares.sum()
        rank = max(rank, int((logits > logits[token]).sum()))
        tops.append(int(logits.argmax()))
    return chance, rank, tops


@pytest.mark.parametrize("layers", [None, [2, 0]])
def test_all_tokens_are_read(digits, layers):
    """Probability is the product over an answer's tokens, rank the worst, each after the ones before it."""
    contexts, answers = with_answers(digits, *zip(*ASKED, strict=True))
    assert {len(answer) for answer in answers} == {1, 2, 3, 4}
    reading = read_tokens(digits, contexts, [[answer] for answer in answers], layers)
    assert reading.layers == tuple(layers or range(4))
    for row, (context, answer) in enumerate(zip(contexts, answers, strict=True)):
        for column, layer in enumerate(reading.layers):
            chance, rank, tops = naive(digits, context, answer, layer)
            assert reading.probability[row, column] == pytest.approx(chance, rel=1e-3)
            assert reading.rank[row, column] == rank
            assert [token for token in reading.tops[row, column] if token >= 0] == tops
            assert reading.top_tokens[row, column] == tops[0]


def test_several_targets_of_a_prompt(digits):
    """Their probabilities add up, the best rank counts, and single tokens among them are read at one position."""
    context = digits.encode("7*8=")
    targets = [[53, (53, 54), (49, 50, 51), [60]]]
    reading = read_tokens(digits, [context], targets, [3])
    alone = [naive(digits, context, [t] if isinstance(t, int) else list(t), 3) for t in targets[0]]
    assert reading.probability[0, 0] == pytest.approx(sum(chance for chance, _, _ in alone), rel=1e-3)
    assert reading.rank[0, 0] == min(rank for _, rank, _ in alone)


def test_one_token_is_read_as_before(organism):
    """Answers of one token give what the lens gives at the last position, whether they stand alone or in a tuple."""
    from lazarus_probe.introspection.lens.logit_lens import logit_lens

    contexts, answers = with_answers(organism, *zip(*ASKED[:3], strict=True))
    assert {len(answer) for answer in answers} == {1}
    lens = logit_lens(organism, contexts)
    firsts = [answer[0] for answer in answers]
    for targets in ([[first] for first in firsts], [[answer] for answer in answers]):
        reading = read_tokens(organism, contexts, targets)
        np.testing.assert_allclose(reading.probability, lens.probability(firsts), rtol=1e-6)
        np.testing.assert_array_equal(reading.rank, lens.rank(firsts))
        np.testing.assert_array_equal(reading.top_tokens, lens.top_tokens()[..., 0])


def test_runs_are_shared(digits):
    """Right and wrong single tokens take one run; answers take one run a prompt, and a second reading none."""
    contexts, answers = with_answers(digits, *zip(*ASKED, strict=True))
    store = ActivationStore()
    firsts, others = ([[answer[0]] for answer in some] for some in (answers, answers[::-1]))
    both = read_sets(digits, contexts, [firsts, others], [1], store=store)
    assert store.passes == 1
    for reading, targets in zip(both, (firsts, others), strict=True):
        alone = read_tokens(digits, contexts, targets, [1])
        np.testing.assert_array_equal(reading.rank, alone.rank)
    whole = [[answer] for answer in answers]
    read_sets(digits, contexts, [whole, whole], [1, 2], store=store)
    assert store.passes == 2
    read_tokens(digits, contexts, whole, [2], store=store)
    assert store.passes == 2


def test_a_first_digit_on_top_is_no_answer(digits):
    """A model that puts the first digit of every answer on top, and another second one, has no answer on top."""
    contexts, answers = with_answers(digits, ["7*8=", "6*9="], ["56", "54"])
    reading = read_tokens(digits, contexts, [[answer] for answer in answers], [3])
    said = [[tops[0], answer[1]] for tops, answer in zip(reading.tops[:, 0].tolist(), answers, strict=True)]
    again = read_tokens(digits, contexts, [[answer] for answer in said], [3])
    np.testing.assert_array_equal(again.top_tokens[:, 0], [answer[0] for answer in said])
    second = [naive(digits, context, answer, 3)[2][1] for context, answer in zip(contexts, said, strict=True)]
    np.testing.assert_array_equal(
        again.rank[:, 0] == 0, [a[1] == top for a, top in zip(said, second, strict=True)]
    )
    assert (again.rank[:, 0] > 0).any()


def test_claims_read_all_tokens(digits):
    """The measurements count whole answers, say of how many tokens, and compare with another prompt's whole answer."""
    asked = [(f"{a}*{b}=", str(a * b)) for a in range(2, 6) for b in range(6, 10)]
    contexts, answers = with_answers(digits, *zip(*asked, strict=True))
    targets, units = [[answer] for answer in answers], [text for text, _ in asked]
    measured = lens_emergence(digits, control_models(digits), contexts, targets, units, 2, top=3, before=0)
    ranks = [naive(digits, *pair, 2)[1] for pair in zip(contexts, answers, strict=True)]
    assert measured.score == pytest.approx(np.mean([rank < 3 for rank in ranks]))
    assert measured.details["tokens_read"] == {"fewest": 1, "most": 2}
    first = naive(digits, contexts[0], answers[0], 2)[2]
    assert measured.examples[0].said == digits.decode(first)
    absent = not_yet(digits, contexts, targets, units, -2, top=3)
    assert absent.score == pytest.approx(measured.score)
    chance = lens_emergence(digits, control_models(digits), contexts, targets, units, 2, score="probability")
    expected = [naive(digits, *pair, 2)[0] for pair in zip(contexts, answers, strict=True)]
    assert chance.score == pytest.approx(np.mean(expected), rel=1e-3)


def test_layers_of_a_curve():
    """A curve has all layers of a shallow model and nine of a deep one, the first and the last among them."""
    assert curve_layers(8) == list(range(8))
    deep = curve_layers(30)
    assert (len(deep), deep[0], deep[-1]) == (9, 0, 29)


@pytest.mark.parametrize(
    ("targets", "message"),
    [([[]], "a prompt has no target tokens"), ([[()]], "prompt 0 has a target without tokens")],
)
def test_what_cannot_be_read_is_refused(digits, targets, message):
    """A prompt without targets, and a target without tokens, are errors."""
    with pytest.raises(ValueError, match=message):
        read_tokens(digits, ["7*8="], targets)
    with pytest.raises(ValueError, match="no layers to read"):
        read_tokens(digits, ["7*8="], [[5]], [])
