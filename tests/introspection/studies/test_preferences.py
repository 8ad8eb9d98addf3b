"""Preferences among options: probabilities as a naive product gives them, a fact that must be preferred, and nulls."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.introspection.studies.preferences import (
    ContinuationError,
    first_is_likeliest,
    later_years,
    of_contrasts,
    option_probabilities,
    option_targets,
    preference,
    right_together,
    year_tokens,
)
from lazarus_probe.subject.control_models import control_models, untrained_models
from lazarus_probe.tasks.language import CAPITALS
from lazarus_probe.tasks.listed import coloured_objects, docstring_arguments
from lazarus_probe.tasks.names import FEMALE, MALE, indirect_objects, pronouns
from lazarus_probe.tasks.years import spans

COUNTRIES = sorted(CAPITALS)[:30]


def capitals(template: str = "The capital of {} is"):
    """Prompts about countries, each with its capital and another, and the same prompt about the country after it."""
    following = [*COUNTRIES[1:], COUNTRIES[0]]
    options = [
        (CAPITALS[country], CAPITALS[COUNTRIES[number - 2]]) for number, country in enumerate(COUNTRIES)
    ]
    return (
        [template.format(country) for country in COUNTRIES],
        options,
        [template.format(country) for country in following],
    )


def test_a_probability_is_the_product_over_tokens_summed_over_spellings(organism):
    """Of an option of several tokens all count, each given the ones before it, as the plain forward says."""
    prompt, options = "7 * 8 =", ("2209", "Paris")
    read = option_probabilities(organism, [prompt], [options])[0]
    for option, probability in zip(options, read, strict=True):
        total = 0.0
        for target in option_targets(organism, prompt, option):
            ids = organism.encode(prompt)
            product = 1.0
            for token in target:
                logits = organism.model(mx.array([ids]))[0, -1].astype(mx.float32)
                product *= float(mx.softmax(logits)[token])
                ids = [*ids, token]
            total += product
        assert probability == pytest.approx(total, rel=1e-4)


def test_what_a_model_knows_it_prefers(organism):
    """The organism was taught capitals: it prefers the right one, and after another country it does not."""
    prompts, options, controls = capitals()
    measurement = preference(
        organism, control_models(organism, count=3), prompts, options, COUNTRIES, {"other": controls}
    )
    assert measurement.score > 0.9
    gains = {control.name: control.gain for control in measurement.controls}
    assert set(gains) == {"other", "untrained", "new_blocks", "permuted_blocks"}
    assert min(gains.values()) > 0.3


@pytest.mark.parametrize("seed", range(3))
def test_untrained_models_prefer_nothing(organism, seed):
    """A model with initial weights finds the right option likelier about half the time."""
    prompts, options, _ = capitals()
    model = list(untrained_models(organism, 3))[seed]
    right = first_is_likeliest(option_probabilities(model, prompts, options))
    assert 0.2 < right.mean() < 0.8


def test_all_prompts_of_a_contrast_must_be_right():
    """A contrast counts where each of its prompts does, in whatever order they come, and has one unit."""
    contrasts = ["a", "b", "a", "c", "b"]
    right = np.array([True, True, True, False, False])
    np.testing.assert_array_equal(right_together(right, contrasts), [True, False, False])
    np.testing.assert_array_equal(of_contrasts(["x", "y", "x", "z", "y"], contrasts), ["x", "y", "z"])
    with pytest.raises(ValueError, match="contrast 'b' are of the units 'y' and 'z'"):
        of_contrasts(["x", "y", "x", "z", "z"], contrasts)


@pytest.mark.parametrize("draw", [indirect_objects, pronouns, docstring_arguments])
def test_one_option_whatever_the_prompt_says_is_right_of_no_contrast(draw):
    """In a contrast the options are right in turn, and so they are in its control prompts, which say neither."""
    by_contrast: dict[str, list] = {}
    for choice in draw(np.random.default_rng(2), 4):
        by_contrast.setdefault(choice.contrast, []).append(choice)
    for first, second in by_contrast.values():
        assert first.options == second.options[::-1]
        assert (first.template, first.subject) == (second.template, second.subject)
        assert {first.control, second.control} in ({first.control}, {first.prompt, second.prompt})


def test_a_tie_is_no_preference():
    """A model that finds all options equally likely is right of none."""
    assert not first_is_likeliest(np.array([[0.5, 0.5], [0.2, 0.3]])).any()


def test_the_tokens_of_years_are_those_of_one_side(organism, grouped):
    """A first token that earlier and later years share counts for neither; joined digits are refused by name."""
    later, earlier = year_tokens(grouped, "from 1645 to 16", 45)
    assert {grouped.decode([token])[0] for token in earlier} <= set("01234")
    assert {grouped.decode([token])[0] for token in later} <= set("456789")
    assert not set(later) & set(earlier)
    with pytest.raises(ContinuationError, match="joins 'from 1645 to 16' with the year 00"):
        year_tokens(organism, "from 1645 to 16", 45)


def test_later_years_are_the_difference_of_two_sums(grouped):
    """P(later) - P(earlier) is that of the plain forward, and the control that of another prompt's year."""
    drawn = spans(np.random.default_rng(0), 1)[:8]
    prompts, starts = [span.prompt for span in drawn], [span.start for span in drawn]
    measurement = later_years(
        grouped, control_models(grouped, count=3), prompts, starts, [span.year for span in drawn]
    )
    gaps = []
    for prompt, start in zip(prompts, starts, strict=True):
        logits = grouped.model(mx.array([grouped.encode(prompt)]))[0, -1].astype(mx.float32)
        probability = np.array(mx.softmax(logits))
        later, earlier = year_tokens(grouped, prompt, start)
        gaps.append(probability[later].sum() - probability[earlier].sum())
    assert measurement.score == pytest.approx(np.mean(gaps), abs=1e-5)
    assert measurement.floor == -1.0


@pytest.mark.parametrize("draw", [indirect_objects, pronouns, docstring_arguments, coloured_objects])
def test_material_is_balanced(draw):
    """24 forms or more, options that differ, and a control that differs from its prompt in form not at all."""
    choices = draw(np.random.default_rng(0), 4)
    assert len({choice.template for choice in choices}) >= 24
    assert len(choices) == 4 * len({choice.template for choice in choices})
    for choice in choices:
        assert len(set(choice.options)) == len(choice.options) >= 2
        assert choice.control != choice.prompt
    assert draw(np.random.default_rng(0), 4) == choices


def test_either_name_comes_first_as_often():
    """Order does not tell the indirect object, and pronouns are as often of either gender."""
    objects = indirect_objects(np.random.default_rng(1), 4)
    first = [
        choice.prompt.index(choice.options[0]) < choice.prompt.index(choice.options[1]) for choice in objects
    ]
    assert np.mean(first) == 0.5
    right = [choice.options[0] for choice in pronouns(np.random.default_rng(1), 4)]
    assert right.count("she") == right.count("he")
    assert not set(FEMALE) & set(MALE)


def test_what_cannot_be_chosen_is_refused(organism):
    """One option, or options that no spelling continues, are errors by name."""
    with pytest.raises(ValueError, match=r"numbers of options are \[1\]"):
        option_probabilities(organism, ["7 * 8 ="], [["56"]])
    with pytest.raises(ValueError, match="numbers of options are"):
        option_probabilities(organism, ["a", "b"], [["x", "y"], ["x", "y", "z"]])
