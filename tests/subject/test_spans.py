"""The tokens of a part of a prompt, against decoding token by token, under tokenizers of many kinds."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.hooks import collect, trace
from lazarus_probe.subject import Span, Subject, span
from lazarus_probe.subject.chat import in_chat
from lazarus_probe.subject.spans import spans
from tests.subject.chat_formats import FORMATS, tokenizer_of
from tests.subject.small_tokenizers import TOKENIZERS, Slow, byte_level, metaspace

PARTS = (
    ("12*34=", "12"),
    ("12*34=", "34"),
    ("What is 17 times 123?", "17"),
    ("What is 17 times 123?", "123"),
    ("In  Paris , 1234 = ", "Paris"),
    ("In  Paris , 1234 = ", "1234"),
    (" 12 + 34 =", "12"),
    ("naïve 😀 17é", "😀"),
    ("naïve 😀 17é", "17é"),
    ("two\nlines: Paris", "lines: Paris"),
)


@pytest.fixture(scope="module")
def model(make_llama):
    """A Llama with a row for every token of any of the tokenizers."""
    return make_llama(vocab_size=600)


def by_decoding(subject: Subject, prompt: str, part: str) -> tuple[int, int]:
    """The fewest tokens whose text, decoded with all before them, holds the part: first and last."""
    ids = subject.encode(prompt)
    texts = [subject.decode(ids[:count]).removeprefix("<s>") for count in range(len(ids) + 1)]
    whole = texts[-1]
    start = whole.index(part)
    last = next(i for i, text in enumerate(texts) if text[: start + len(part)].endswith(part)) - 1
    first = max(i for i in range(last + 1) if part[0] not in texts[i][start:] and len(texts[i]) <= start + 1)
    return first, last


@pytest.mark.parametrize("slow", [False, True], ids=["offsets", "decoded"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_part_is_the_tokens_that_spell_it(model, name, slow):
    """Under every tokenizer, with offsets of its own or without, the span is what decoding token by token finds."""
    own = TOKENIZERS[name]()
    subject = Subject.from_model(model, Slow(own) if slow else own, name)
    for prompt, part in PARTS:
        where = span(subject, prompt, part)
        ids = subject.encode(prompt)
        assert subject.decode(ids[where.start : where.stop]).strip() == part, (prompt, part)
        if part.isascii():
            assert (where.first, where.last) == by_decoding(subject, prompt, part), (prompt, part)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_offsets_by_decoding_are_the_tokenizers_own(model, name):
    """A tokenizer that says what its tokens cover says what decoding them one after the other finds, spaces aside."""
    own = TOKENIZERS[name]()
    fast, slow = (Subject.from_model(model, each, name) for each in (own, Slow(own)))
    for prompt in dict.fromkeys(prompt for prompt, _ in PARTS if prompt.isascii()):
        (ids, covered), (again, decoded) = fast.offsets(prompt), slow.offsets(prompt)
        assert ids == again == fast.encode(prompt)
        for left, right in zip(covered, decoded, strict=True):
            assert prompt[slice(*left)].strip() == prompt[slice(*right)].strip(), prompt


@pytest.mark.filterwarnings("ignore::lazarus_probe.subject.encoding.PromptWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_parts_of_a_chat(model, name):
    """In a prompt that a chat template wrote, the part of the message is found among its special tokens."""
    from mlx_lm.tokenizer_utils import TokenizerWrapper

    subject = Subject.from_model(model, TokenizerWrapper(tokenizer_of(FORMATS[name])), name)
    for prompt in (in_chat(subject, "What is 17 times 3?"), "What is 17 times 3?"):
        ids = subject.encode(prompt)
        where = span(subject, prompt, "17")
        assert subject.decode(ids[where.start : where.stop]).strip() == "17"
        assert len(where) == 2  # these tokenizers have a token a character


def test_a_prompt_with_its_start_token(model):
    """A start token that stands in the text already is there once, and moves no position."""
    subject = Subject.from_model(model, TOKENIZERS["digits"](), "digits")
    assert span(subject, "<s>12*34=", "34") == span(subject, "12*34=", "34") == Span(4, 6)


@pytest.mark.parametrize(
    ("pieces", "prompt", "part", "token"),
    [
        (["=5"], "12=56", "56", "=5"),
        (["2*"], "12*34", "12", "2\\*"),
        (["1234"], "1234", "12", "1234"),
    ],
)
def test_a_part_that_shares_a_token_is_refused(model, pieces, prompt, part, token):
    """Where a token covers the part's text and other text than white space, the error names it."""
    for make in (byte_level, metaspace):
        subject = Subject.from_model(model, make(pieces), "merging")
        with pytest.raises(ValueError, match=f"'{part}' is not tokens of its own in .* has '{token}' in one"):
            span(subject, prompt, part)


def test_which_of_several(organism):
    """A part that occurs more than once is refused unless it is said which is meant."""
    assert span(organism, "7*7=", "7", 0) == Span(1, 2)
    assert span(organism, "7*7=", "7", -1) == Span(3, 4)
    with pytest.raises(ValueError, match=r"'7' is 2 times in the prompt '7\*7='; say which"):
        span(organism, "7*7=", "7")
    with pytest.raises(IndexError, match="which is 2"):
        span(organism, "7*7=", "7", 2)


@pytest.mark.parametrize("part", ["", "9"])
def test_what_is_not_there_is_refused(organism, part):
    """An empty part, and one that the prompt does not hold, are errors."""
    with pytest.raises(ValueError, match="is not in the prompt"):
        span(organism, "7*8=", part)
    with pytest.raises(ValueError, match="characters 3 to 9 are no part of the prompt"):
        spans(organism, "7*8=", [(3, 9)])
    with pytest.raises(ValueError, match="a span from 2 to 2 holds no token"):
        Span(2, 2)


def test_a_lossy_tokenizer_without_offsets_is_refused(grouped):
    """Where tokens do not decode to the text again and nothing says what they cover, there is no guess."""
    lossy = Subject.from_model(grouped.model, Slow(grouped.tokenizer), "lossy")
    assert span(lossy, "12 + 5", "5") == span(grouped, "12 + 5", "5")
    with pytest.raises(ValueError, match="where in the text its tokens are cannot be found"):
        span(lossy, "Q 12", "12")


def test_spans_are_collected_as_means(grouped):
    """A span is read as the plain mean over its tokens, and several positions of a prompt are kept apart."""
    prompts = ["12 + 345 =", "Paris is 77"]
    where = [span(grouped, prompts[0], "345"), span(grouped, prompts[1], "Paris is")]
    sites = ["embed", "resid_post.1", "head_out.2"]
    means = collect(grouped, prompts, sites, at=where)
    each = collect(grouped, prompts, sites, at=[where[0].positions[:2], where[1].positions[-2:]])
    for row, prompt in enumerate(prompts):
        run = trace(grouped, prompt, sites)
        for site in sites:
            value = np.array(run[site][0])
            (mean,) = (found[row] for key, found in means.items() if str(key) == site)
            (both,) = (found[row] for key, found in each.items() if str(key) == site)
            np.testing.assert_allclose(mean, value[where[row].start : where[row].stop].mean(0), atol=1e-5)
            chosen = where[row].positions[:2] if row == 0 else where[row].positions[-2:]
            np.testing.assert_allclose(both, value[list(chosen)], atol=1e-5)


@pytest.mark.parametrize(
    ("at", "error", "message"),
    [
        ([Span(0, 2), 1], ValueError, "at mixes positions and spans"),
        ([[0, 1], [0]], ValueError, "at has 1 to 2 positions a prompt; give as many for each"),
        ([[], []], ValueError, "at has 0 to 0 positions"),
        ([Span(0, 2), Span(1, 9)], IndexError, "prompt 1: position 8 is out of range"),
    ],
)
def test_what_cannot_be_read_is_refused(grouped, at, error, message):
    """Positions of different kinds or numbers, and spans beyond a prompt, are refused by name."""
    with pytest.raises(error, match=message):
        collect(grouped, ["12", "1 + 2"], ["embed"], at=at)
