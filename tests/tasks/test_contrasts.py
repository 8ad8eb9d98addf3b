"""Contrasts: two prompts of one sentence in which the same two options are right in turn."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from lazarus_probe.tasks.contrasts import capital_contrasts, coloured_contrasts, tens_alone, year_contrasts
from lazarus_probe.tasks.language import CAPITALS
from lazarus_probe.tasks.word_contrasts import agreement, repeated_words

DRAWS = (coloured_contrasts, year_contrasts, capital_contrasts, repeated_words, agreement)


def drawn(draw, per_template=2, seed=0):
    return draw(np.random.default_rng(seed), per_template)


def in_twos(choices):
    return zip(choices[::2], choices[1::2], strict=True)


@pytest.mark.parametrize("draw", DRAWS)
def test_contrasts_come_in_twos_with_swapped_options(draw):
    """Two prompts of one template and subject, equal in words, of which the same two options are right in turn."""
    choices = drawn(draw, per_template=4)
    assert set(Counter(choice.contrast for choice in choices).values()) == {2}
    for first, second in in_twos(choices):
        assert first.contrast == second.contrast
        assert (first.template, first.subject) == (second.template, second.subject)
        assert first.options == second.options[::-1]
        assert len(set(first.options)) == 2
        assert first.prompt != second.prompt
        assert len(first.prompt.split()) == len(second.prompt.split())


@pytest.mark.parametrize("draw", DRAWS)
def test_units_are_independent(draw):
    """36 templates or more, none of them twice, and no subject in two of them."""
    choices = drawn(draw)
    count = len({choice.template for choice in choices})
    assert count >= 36
    assert len(choices) == 2 * count
    assert len({choice.contrast for choice in choices}) == count
    assert len({choice.subject for choice in choices}) == count
    assert len({choice.prompt for choice in choices}) == 2 * count


@pytest.mark.parametrize("draw", DRAWS)
def test_a_draw_is_its_generator(draw):
    """The same generator draws the same; another one draws others."""
    assert drawn(draw) == drawn(draw) != drawn(draw, seed=1)


@pytest.mark.parametrize("draw", DRAWS)
def test_a_control_decides_nothing(draw):
    """It is neither prompt of its contrast, and for both of them the same."""
    for first, second in in_twos(drawn(draw)):
        assert first.control == second.control
        assert first.control not in (first.prompt, second.prompt)


def test_the_colour_is_that_of_the_object_asked_about():
    """The prompt says so, and the control asks about an object that it does not name."""
    for choice in drawn(coloured_contrasts):
        about = re.escape(choice.template.rsplit(". ", 1)[1]).replace(r"\{asked\}", "(.+)")
        asked, absent = (
            re.fullmatch(about, text.rsplit(". ", 1)[1])[1] for text in (choice.prompt, choice.control)
        )
        assert f" {choice.options[0]} {asked}" in choice.prompt
        assert f" {absent}" not in choice.prompt


def test_one_option_is_the_nearer_year_and_the_other_alone_is_later():
    """Four years of one century rise from decade to decade: first year, option, first year, option."""
    for early, late in in_twos(drawn(year_contrasts, per_template=4)):
        starts = [re.findall(r"(\d\d)(\d\d)", choice.prompt)[0] for choice in (early, late)]
        years = [int(starts[0][1]), int(early.options[0]), int(starts[1][1]), int(late.options[0])]
        decades = [year // 10 for year in years]
        assert decades == sorted(set(decades))
        assert all(choice.prompt.endswith(f" {starts[0][0]}") for choice in (early, late))


def test_the_tens_alone_tell_the_options():
    """Where a tokenizer splits numbers, the first digits differ, and nothing else has changed."""
    whole = drawn(year_contrasts)
    for two, one in zip(whole, tens_alone(whole), strict=True):
        assert one.options == (two.options[0][0], two.options[1][0])
        assert len(set(one.options)) == 2
        assert (one.prompt, one.contrast) == (two.prompt, two.contrast)


def test_the_capital_is_that_of_the_country():
    """One of the two countries is named in the prompt, and its capital is right."""
    for choice in drawn(capital_contrasts):
        country = next(name for name in choice.subject.split(" and ") if name in choice.prompt)
        assert CAPITALS[country] == choice.options[0]
        assert not any(name in choice.control for name in choice.subject.split(" and "))


def test_what_followed_before_follows_again():
    """The word after the earlier place of the last word is right; the control's last word has no earlier place."""
    for choice in drawn(repeated_words):
        words, others = (
            [word for word in re.findall(r"[a-z]+", text) if word != "and"]
            for text in (choice.prompt, choice.control)
        )
        assert words[words.index(words[-1]) + 1] == choice.options[0]
        assert others.count(others[-1]) == 1
        assert set(choice.options) < set(others)


def test_a_place_is_asked_about_as_often_as_the_other():
    """What is right stands before the other option in half of the prompts."""
    first = [
        choice.prompt.index(f" {choice.options[0]}") < choice.prompt.index(f" {choice.options[1]}")
        for choice in drawn(repeated_words)
    ]
    assert np.mean(first) == 0.5


def test_no_two_countries_are_paired_again_before_all_are():
    """29 countries are 406 pairs: so many contrasts differ, and each country is in as many as any other."""
    pairs = [first.subject for first, _ in in_twos(drawn(capital_contrasts, per_template=22))]
    assert len(set(pairs)) == len(pairs) == 396
    assert set(Counter(name for pair in pairs[:58] for name in pair.split(" and ")).values()) == {4}


def test_the_verb_agrees_with_the_subject_and_not_with_the_noun_between():
    """A subject of several takes are, were or have; of the nouns between some are one and some are several."""
    between = set()
    for choice in drawn(agreement):
        several = f"{choice.subject}s" in choice.prompt
        assert several == (choice.options[0] in ("are", "were", "have"))
        between.add((several, choice.prompt.endswith("s")))
    assert len(between) == 4
