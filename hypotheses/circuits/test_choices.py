"""Does the model do what the best-known circuits are for, beyond what the sentences give without the deciding word?

A circuit is a claim about a model that does its task. These are the tasks, in sentences of our own: models remember the
published ones. Every control prompt differs from its prompt in the one thing that makes an option right. Prompts come
in contrasts, of two in which the same options are right and wrong in turn, and both must be right.
"""

from contextlib import contextmanager

import pytest

from lazarus_probe.introspection.studies.preferences import ContinuationError, later_years, preference
from lazarus_probe.tasks.listed import coloured_objects, docstring_arguments
from lazarus_probe.tasks.names import indirect_objects, pronouns
from lazarus_probe.tasks.years import spans


@pytest.fixture
def preferred(subject, untrained_models, activations, evidence):
    """`preferred(choices, kinds, control)`: how often the model finds the right option the likeliest."""

    def run(choices, kinds, control):
        units = [[choice.template for choice in choices], [choice.subject for choice in choices]]
        with applicable(evidence):
            return preference(
                subject,
                untrained_models,
                [choice.prompt for choice in choices],
                [choice.options for choice in choices],
                dict(zip(kinds, units, strict=True)),
                {control: [choice.control for choice in choices]},
                contrasts=[choice.contrast for choice in choices],
                store=activations,
                seed=evidence.seed,
                claim=evidence.settles,
            )

    return run


@contextmanager
def applicable(evidence):
    """Where a tokenizer joins an option with the prompt, the claim does not apply."""
    try:
        yield
    except ContinuationError as error:
        evidence.require(False, str(error))


@pytest.mark.claim("indirect-object-preferred")
def test_indirect_object(preferred, evidence, rng):
    choices = indirect_objects(rng, evidence.claim.parameters["per_template"])
    evidence.record(preferred(choices, ("template", "names"), "third_name"))


@pytest.mark.claim("pronoun-agrees-with-name")
def test_pronoun(preferred, evidence, rng):
    choices = pronouns(rng, evidence.claim.parameters["per_template"])
    evidence.record(preferred(choices, ("template", "names"), "no_name"))


@pytest.mark.claim("docstring-argument-is-next")
def test_docstring(preferred, evidence, rng):
    choices = docstring_arguments(rng, evidence.claim.parameters["per_template"])
    evidence.record(preferred(choices, ("function", "arguments"), "other_order"))


@pytest.mark.claim("coloured-object-recalled")
def test_coloured_objects(preferred, evidence, rng):
    choices = coloured_objects(rng, evidence.claim.parameters["per_template"])
    evidence.record(preferred(choices, ("template", "object"), "absent_object"))


@pytest.mark.claim("later-year-ends-a-span")
def test_later_year(subject, untrained_models, activations, evidence, rng):
    drawn = spans(rng, evidence.claim.parameters["per_template"])
    with applicable(evidence):
        measurement = later_years(
            subject,
            untrained_models,
            [span.prompt for span in drawn],
            [span.start for span in drawn],
            {"template": [span.template for span in drawn], "year": [span.year for span in drawn]},
            store=activations,
            seed=evidence.seed,
            claim=evidence.settles,
        )
    evidence.record(measurement)
