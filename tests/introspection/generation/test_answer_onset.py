"""Where an answer begins, token by token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazarus_probe.introspection.generation.answer_onset import complete, expected_of, formats_of, onset


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("2 + 2 =", "4"),
        ("47*47=", "2209"),
        ("100 - 37 = ", "63"),
        ("1,000 x 2 =", "2000"),
        ("What is 7 / 2?", "3.5"),
        ("1 / 3 =", None),
        ("1 / 0 =", None),
        ("2 + 3 * 4 =", None),
        ("2+2=4\n3+3=", "6"),
        ("-5 - -3 =", "-2"),
        ("The capital of France is", None),
        ("9" * 300 + " + 1 =", None),
    ],
)
def test_the_answer_to_two_numbers_is_computed(prompt, expected):
    """A prompt that ends in two numbers and an operation has an answer; a longer expression has none."""
    assert expected_of(prompt) == expected


@pytest.mark.parametrize(
    ("text", "expected", "place"),
    [
        (" 2,209.", "2209", (1, 6)),
        ("22091", "2209", None),
        ("1000", "100", None),
        ("63.5", "63", None),
        ("63.0", "63", (0, 4)),
        ("47*47=2209", "2209", (6, 10)),
        ("it is -5", "-5", (6, 8)),
        ("8-5", "5", (2, 3)),
        ("Parisian Paris", "Paris", (9, 14)),
        ("a.b", "a.b", (0, 3)),
        ("axb", "a.b", None),
        ("", "4", None),
    ],
)
def test_numbers_are_found_by_value_and_words_whole(text, expected, place):
    """`2,209` is 2209, `1000` is not 100, and a word is not a part of another."""
    assert onset(text, expected) == place


@given(st.text(alphabet="ab \n=", max_size=8), st.integers(-(10**9), 10**9), st.sampled_from(["{}", "{:,}"]))
def test_a_number_after_any_words_is_found_where_it_is_written(before, number, form):
    """The place of a number after words, with or without separators, is exactly where it stands."""
    words, written = f"{before} ", form.format(number)
    assert onset(f"{words}{written} end", str(number)) == (len(words), len(words) + len(written))


def test_the_onset_is_the_token_that_the_number_begins_in(organism):
    """A space of its own moves the onset by one; a number of two tokens begins in the first; nothing is off by one."""
    prompts = ["2 + 2 =", "47 * 47 = ", "The capital of France is", "2 + 2 ="]
    found = complete(organism, prompts, ["raw", "raw", "raw", "chat"], ["4", "2209", "Paris", "7"])
    assert [one.answer_onset for one in found] == [1, 0, 0, None]
    assert [one.is_answer_first for one in found] == [True, True, True, False]
    assert [token.token for token in found[1].tokens] == ["220", "9"]
    assert "".join(token.token for token in found[0].tokens) == found[0].generated_text == " 4"
    assert found[3].input.startswith("<|begin|><|user|>2 + 2 =<|end|>")
    assert found[3].as_data()["has_trailing_space"] is False
    assert all(0 < token.probability <= 1 for one in found for token in one.tokens)
    assert "2 + 2 =" in found[0]._repr_html_()


def test_a_number_at_the_limit_may_go_on(organism):
    """Where the limit cuts after `220`, 220 is found and said to be cut; the model's own end cuts nothing."""
    cut, whole = (
        complete(organism, ["47 * 47 = "], ["raw"], [answer], max_tokens=n)[0]
        for n, answer in ((1, "220"), (9, "2209"))
    )
    assert (cut.answer_found, cut.answer_cut, cut.ended) == (True, True, False)
    assert (whole.answer_found, whole.answer_cut, whole.ended) == (True, False, True)


def test_formats_differ_in_one_space_and_the_template():
    """A prompt has four formats, whatever spaces it came with; nothing but spaces has none."""
    assert formats_of("a =  ", chat=True) == [
        ("a =", "raw"),
        ("a = ", "raw"),
        ("a =", "chat"),
        ("a = ", "chat"),
    ]
    assert formats_of("a", chat=False) == [("a", "raw"), ("a ", "raw")]
    with pytest.raises(ValueError, match="nothing but spaces"):
        formats_of("  ", chat=True)


def test_an_empty_answer_is_refused(organism):
    """An expected answer of spaces would be found everywhere."""
    with pytest.raises(ValueError, match="expected answer is empty"):
        complete(organism, ["a"], ["raw"], [" "])
