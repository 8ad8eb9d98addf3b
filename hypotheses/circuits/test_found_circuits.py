"""Is there a small circuit that does what the model does, on prompts that it was not found on?

Published circuits are shown on the prompts that they were found on, with one ablation and no circuit to compare with.
"""

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.circuits.faithful_circuit import faithful_circuit
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.introspection.studies.preferences import (
    ContinuationError,
    first_is_likeliest,
    option_probabilities,
)
from lazarus_probe.subject.spellings import token_of
from lazarus_probe.tasks.contrasts import capital_contrasts, coloured_contrasts, tens_alone, year_contrasts
from lazarus_probe.tasks.listed import docstring_arguments
from lazarus_probe.tasks.names import indirect_objects, pronouns
from lazarus_probe.tasks.word_contrasts import agreement, repeated_words


@pytest.fixture
def recorded(subject, untrained_models, evidence):
    """`recorded(pairs, units)`: records the circuit's measurement, on models that prefer the right answers."""

    def record(pairs, units):
        declared = evidence.claim.parameters
        answers = [(pair.target_answer, pair.source_answer) for pair in pairs]
        try:
            right = first_is_likeliest(
                option_probabilities(
                    subject,
                    [pair.target for pair in pairs] + [pair.source for pair in pairs],
                    answers + [options[::-1] for options in answers],
                )
            ).mean()
        except ContinuationError as error:
            evidence.require(False, str(error))
        evidence.require(
            right >= declared["right"],
            f"prefers the right answer in {right:.2f} of {2 * len(pairs)} prompts; {declared['right']:.2f} needed",
        )
        try:
            measurement = faithful_circuit(
                subject,
                untrained_models,
                pairs,
                units,
                share=declared["share"],
                found_on=declared["found_on"],
                seed=evidence.seed,
                claim=evidence.settles,
            )
        except (UnsupportedArchitecture, ValueError) as error:
            evidence.require(False, str(error))
        evidence.record(measurement)

    return record


@pytest.fixture
def of_contrasts(subject, evidence, recorded):
    """`of_contrasts(choices)`: records what a circuit has of the preference for the right options.

    Options follow a space, unless `space` says that they follow none.
    """

    def record(choices, space=" "):
        kept = comparable(subject, choices, space)
        needed, count = evidence.claim.parameters["templates"], len({first.template for first, _ in kept})
        evidence.require(
            count >= needed,
            f"has answers of one token, and as many tokens in both prompts, in {count} sentences; {needed} are needed",
        )
        pairs = [
            PromptPair(second.prompt, first.prompt, space + second.options[0], space + first.options[0])
            for first, second in kept
        ]
        units = ([first.template for first, _ in kept], [first.subject for first, _ in kept])
        recorded(pairs, dict(zip(evidence.claim.generalises_over, units, strict=True)))

    return record


@pytest.fixture
def drawn(evidence, rng):
    """`drawn(task)`: the task's choices, as many as the claim says."""
    return lambda task: task(rng, evidence.claim.parameters["per_template"])


def comparable(subject, choices, space):
    """Both prompts of each contrast, as far as they have equally many tokens and answers of one."""
    by_contrast = {}
    for choice in choices:
        by_contrast.setdefault(choice.contrast, []).append(choice)
    return [
        (first, second)
        for first, second in by_contrast.values()
        if len(subject.encode(first.prompt)) == len(subject.encode(second.prompt))
        and all(token_of(subject, space + option) is not None for option in first.options)
    ]


@pytest.mark.claim("indirect-object-circuit-is-faithful")
def test_indirect_object(of_contrasts, drawn):
    of_contrasts(drawn(indirect_objects))


@pytest.mark.claim("pronoun-circuit-is-faithful")
def test_pronoun(of_contrasts, drawn):
    of_contrasts(drawn(pronouns))


@pytest.mark.claim("docstring-circuit-is-faithful")
def test_docstring(of_contrasts, drawn):
    of_contrasts(drawn(docstring_arguments))


@pytest.mark.claim("coloured-object-circuit-is-faithful")
def test_coloured_object(of_contrasts, drawn):
    of_contrasts(drawn(coloured_contrasts))


@pytest.mark.claim("later-year-circuit-is-faithful")
def test_later_year(subject, of_contrasts, drawn):
    years = drawn(year_contrasts)
    split = any(token_of(subject, option) is None for year in years for option in year.options)
    of_contrasts(tens_alone(years) if split else years, space="")


@pytest.mark.claim("repeated-word-circuit-is-faithful")
def test_repeated_word(of_contrasts, drawn):
    of_contrasts(drawn(repeated_words))


@pytest.mark.claim("agreement-circuit-is-faithful")
def test_agreement(of_contrasts, drawn):
    of_contrasts(drawn(agreement))


@pytest.mark.claim("capital-circuit-is-faithful")
def test_capital(of_contrasts, drawn):
    of_contrasts(drawn(capital_contrasts))


@pytest.mark.claim("product-circuit-is-faithful")
def test_product(subject, evidence, recorded):
    digits = [(a, b) for a in range(2, 10) for b in range(a, 10) if a * b != a + b]
    pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in digits]
    whole = [token_of(subject, text) for pair in pairs for text in (pair.source_answer, pair.target_answer)]
    evidence.require(
        None not in whole, "splits numbers of two digits; their first digit alone tells no product"
    )
    recorded(pairs, {"operands": [f"{a},{b}" for a, b in digits]})
