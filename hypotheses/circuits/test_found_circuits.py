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
from lazarus_probe.tasks.names import indirect_objects, pronouns


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


def contrasts(subject, choices):
    """Both prompts of each contrast as a pair, as far as they have equally many tokens and answers of one."""
    by_contrast = {}
    for choice in choices:
        by_contrast.setdefault(choice.contrast, []).append(choice)
    kept = [
        (first, second)
        for first, second in by_contrast.values()
        if len(subject.encode(first.prompt)) == len(subject.encode(second.prompt))
        and all(token_of(subject, f" {option}") is not None for option in first.options)
    ]
    pairs = [
        PromptPair(second.prompt, first.prompt, f" {second.options[0]}", f" {first.options[0]}")
        for first, second in kept
    ]
    units = {
        "template": [first.template for first, _ in kept],
        "names": [first.subject for first, _ in kept],
    }
    return pairs, units


def of_contrasts(subject, evidence, recorded, choices):
    pairs, units = contrasts(subject, choices)
    needed, count = evidence.claim.parameters["templates"], len(set(units["template"]))
    evidence.require(
        count >= needed,
        f"has answers of one token, and as many tokens in both prompts, in {count} sentences; {needed} are needed",
    )
    recorded(pairs, units)


@pytest.mark.claim("indirect-object-circuit-is-faithful")
def test_indirect_object(subject, evidence, recorded, rng):
    of_contrasts(
        subject, evidence, recorded, indirect_objects(rng, evidence.claim.parameters["per_template"])
    )


@pytest.mark.claim("pronoun-circuit-is-faithful")
def test_pronoun(subject, evidence, recorded, rng):
    of_contrasts(subject, evidence, recorded, pronouns(rng, evidence.claim.parameters["per_template"]))


@pytest.mark.claim("product-circuit-is-faithful")
def test_product(subject, evidence, recorded):
    digits = [(a, b) for a in range(2, 10) for b in range(a, 10) if a * b != a + b]
    pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in digits]
    whole = [token_of(subject, text) for pair in pairs for text in (pair.source_answer, pair.target_answer)]
    evidence.require(
        None not in whole, "splits numbers of two digits; their first digit alone tells no product"
    )
    recorded(pairs, {"operands": [f"{a},{b}" for a, b in digits]})
