"""The organism's tokenizer: nothing is lost, and words that claims read are single tokens."""

from __future__ import annotations

import random
from functools import cache
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lazarus_probe.organisms import bundled, corpus, tokenizer
from lazarus_probe.tasks.arithmetic import OPERATIONS


@cache
def vocabulary() -> Tokenizer:
    """Built once, by the worker that runs these tests."""
    return tokenizer.build()


@pytest.fixture(autouse=True, scope="module")
def _built() -> None:
    """Within no test's time: building takes seconds."""
    vocabulary()


def ids(text: str) -> list[int]:
    return list(vocabulary().encode(text, add_special_tokens=False).ids)


def pieces(text: str) -> list[str]:
    return [vocabulary().decode([token]) for token in ids(text)]


@given(st.text())
def test_any_text_comes_back(text: str):
    """Decoding gives back every text, whatever is in it."""
    assert vocabulary().decode(ids(text), skip_special_tokens=False) == text


@pytest.mark.parametrize(
    "text", ["", "  two  spaces ", "7 * 8 = ", "naïve café", "👩‍🚀 in orbit", "\t\n\r\n", "木"]
)
def test_awkward_text_comes_back(text: str):
    """Spaces at either end, accents, joined emoji and line breaks are kept."""
    assert vocabulary().decode(ids(text), skip_special_tokens=False) == text


@given(st.integers(min_value=0, max_value=10**12))
def test_numbers_are_chunks_of_three(number: int):
    """A number is cut into threes from its left, as in Llama 3."""
    digits = str(number)
    assert pieces(digits) == [digits[start : start + 3] for start in range(0, len(digits), 3)]


@pytest.mark.parametrize("word", [*OPERATIONS, *map(str.capitalize, OPERATIONS), "positive", "negative"])
def test_class_words_are_single_tokens(word: str):
    """What a logit lens is asked for is one token, with and without a space before it."""
    assert len(ids(word)) == len(ids(f" {word}")) == 1
    assert ids(word) != ids(f" {word}")


def test_operators_are_single_tokens():
    """Each operator is one token, alone and after a space."""
    for operation in OPERATIONS.values():
        assert len(ids(operation.symbol)) == len(ids(f" {operation.symbol}")) == 1


def test_prompt_and_response_meet_at_a_token():
    """A line's tokens are its prompt's and then its response's, so that what is trained is what is asked."""
    splits = (corpus.split(task) for task in corpus.MIXTURE)
    lines = list(chain.from_iterable(split.trained + split.held_out for split in splits))
    for line in random.Random(0).sample(lines, 4000):
        assert ids(line.prompt) + ids(line.response) == ids(line.prompt + line.response), line


def test_a_text_begins_with_the_begin_token():
    """Encoding puts one <|begin|> in front; special tokens are no text that a user can fall into."""
    begin = vocabulary().token_to_id(tokenizer.BEGIN)
    assert vocabulary().encode("a").ids == [begin, *ids("a")]
    assert len({vocabulary().token_to_id(token) for token in tokenizer.SPECIAL}) == len(tokenizer.SPECIAL)


def test_the_same_every_time():
    """Building twice gives the same tokenizer, which is the bundled models' own."""
    assert tokenizer.build().to_str() == vocabulary().to_str()
    for name in bundled.names():
        assert (
            Tokenizer.from_file(str(bundled.path(name) / "tokenizer.json")).to_str() == vocabulary().to_str()
        )


def test_vocabulary_is_bounded():
    """Every id lies below the announced size."""
    known: dict[str, Any] = vocabulary().get_vocab()
    assert sorted(known.values()) == list(range(len(known)))
    assert len(known) <= tokenizer.VOCABULARY


def test_foreign_vocabulary_is_refused():
    """A special token that a tokenizer does not have is named."""
    from tokenizers import Tokenizer, models

    with pytest.raises(ValueError, match=r"no token <\|begin\|>"):
        tokenizer.special_id(Tokenizer(models.BPE()), tokenizer.BEGIN)
