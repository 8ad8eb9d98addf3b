"""Words in all their spellings, against a search of the whole vocabulary, under tokenizers of many kinds."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.subject import Subject, word_of
from lazarus_probe.subject.spellings import in_one_form, spellings, written
from tests.subject.small_tokenizers import TOKENIZERS


@pytest.fixture(scope="module")
def model(make_llama):
    """A Llama with a row for every token of any of the tokenizers."""
    return make_llama(vocab_size=600)


def in_vocabulary(subject: Subject, word: str) -> set[int]:
    """Every token that says the word after other text, with a space before it or without, capitalised or not."""
    before = subject.pieces("x")
    capital = word[:1].upper() + word[1:]
    forms = {word, f" {word}", capital, f" {capital}"}
    # SentencePiece's bytes are for characters without a token of their own.
    tokens = [token for piece, token in subject.tokenizer.get_vocab().items() if not piece.startswith("<0x")]
    return {token for token in tokens if subject.decode([*before, token]).removeprefix("x") in forms}


@pytest.mark.parametrize("word", ["Paris", "multiply", "7", "zebra"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_spelling_is_found(model, name, word):
    """The tokens of a word are all of the vocabulary that say it, each once; that of a word without one is refused."""
    subject = Subject.from_model(model, TOKENIZERS[name](), name)
    expected = in_vocabulary(subject, word)
    assert sorted(spellings(subject, word)) == sorted(expected)
    if not expected:
        with pytest.raises(ValueError, match=rf"'{word}' is not one token but .*no spelling of it is one"):
            word_of(subject, word)
        return
    before = subject.pieces("x")
    for spelling, token in word_of(subject, word).tokens.items():
        assert subject.decode([*before, token]) == f"x{spelling}"


def test_the_organisms_words(organism):
    """Its vocabulary has one spelling of Paris and four of multiply; the others are named as not counted."""
    paris = word_of(organism, "Paris")
    assert [organism.decode([token]) for token in paris.ids] == list(paris.tokens) == [" Paris"]
    assert paris.longer == ("Paris",)
    assert list(word_of(organism, "multiply").tokens) == ["multiply", " multiply", "Multiply", " Multiply"]


@pytest.mark.parametrize(
    ("text", "spelling"),
    [(" multiply", " multiply"), ("'multiply'", "multiply"), ('" Multiply"', " Multiply")],
)
def test_a_text_with_its_space_or_in_quotes_is_itself_alone(organism, text, spelling):
    """White space at an end, and quotes, mean one spelling."""
    assert written(text) == [spelling]
    assert dict(word_of(organism, text).tokens) == {spelling: organism.single_token(spelling)}
    with pytest.raises(ValueError, match="'Paris' is not one token but 3"):
        word_of(organism, "'Paris'")


@pytest.mark.parametrize("text", ["", "Zoo"])
def test_what_has_no_token_is_refused(organism, text):
    """An empty word, and one that is several tokens in every spelling, are errors; `spellings` has none of them."""
    with pytest.raises(ValueError, match="is not one token"):
        word_of(organism, text)
    assert spellings(organism, text) == []


def test_the_likeliest_spelling(organism):
    """It is the one with the highest scores, summed over rows."""
    word = word_of(organism, "multiply")
    scores = np.zeros((2, organism.anatomy.vocab_size))
    scores[0, word.tokens["Multiply"]] = 1
    scores[1, word.tokens[" multiply"]] = 3
    assert word.likeliest(scores) == " multiply"
    assert word.likeliest(scores[0]) == "Multiply"


def test_words_in_one_form(organism):
    """The first form in which all words are one token; without one, each word's own first spelling."""
    assert in_one_form(organism, ["multiply", "add"]).form == "as written"
    times = in_one_form(organism, ["multiply", "times"])
    assert times.form == "with a space before it"
    assert list(times.spellings.values()) == [" multiply", " times"]
    review = in_one_form(organism, ["The", "review", "add"])
    assert (review.form, list(review.spellings.values())) == ("capitalised", ["The", "Review", "Add"])
    mixed = in_one_form(organism, ["function", "review"])
    assert (mixed.form, list(mixed.spellings.values())) == (None, ["function", " review"])
    given = in_one_form(organism, [" multiply", "function"])
    assert list(given.spellings.values()) == [" multiply", "function"]
    with pytest.raises(ValueError, match="'Zoo' is not one token"):
        in_one_form(organism, ["multiply", "Zoo"])
