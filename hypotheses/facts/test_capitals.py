"""Where is a capital read from, what brings it back once the country is gone, and does that tell where it is edited?

The published studies average over facts and show the largest of many layers. Here the layers are chosen on half of the
countries and held to the other half, and every edit is compared with the same edit elsewhere.
"""

from functools import partial

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.editing.tracing_and_editing import tracing_tells_editing
from lazarus_probe.introspection.generation.continuation import before_answers, continuation_probability
from lazarus_probe.introspection.patching.fact_measures import read_by_attention, restored_by_mlp
from lazarus_probe.subject.spans import span
from lazarus_probe.tasks.language import CAPITALS, FURTHER_CAPITALS

CITIES = CAPITALS | FURTHER_CAPITALS
PROMPT = "The capital of {} is"
WORDINGS = ("The capital city of {} is", "People say that the capital of {} is")


@pytest.fixture
def facts(subject, evidence):
    """Prompts, the country's tokens in them, the capital's first token, and the countries that the model knows."""
    declared, countries = evidence.claim.parameters, list(CITIES)
    prompts = [PROMPT.format(country) for country in countries]
    try:
        known = continuation_probability(subject, prompts, [f" {CITIES[name]}" for name in countries])
        rows = [row for row, probability in enumerate(known) if probability >= declared["known"]]
        parts = [span(subject, prompts[row], countries[row]) for row in rows]
        _, answers = before_answers(
            subject, [prompts[row] for row in rows], [f" {CITIES[countries[row]]}" for row in rows]
        )
    except ValueError as error:
        evidence.require(False, str(error))
    evidence.require(
        len(rows) >= declared["countries"],
        f"gives the capitals of {len(rows)} of {len(countries)} countries; {declared['countries']} needed",
    )
    return [prompts[row] for row in rows], parts, answers, [countries[row] for row in rows]


def recorded(measure, subject, evidence, facts):
    """What an analysis measures, on models whose blocks have what it edits."""
    try:
        measurement = measure(subject, *facts, share=evidence.claim.parameters["share"], seed=evidence.seed)
    except UnsupportedArchitecture as error:
        evidence.require(False, str(error))
    evidence.record(measurement)


@pytest.mark.claim("answer-read-from-subject")
def test_read(subject, evidence, facts):
    recorded(read_by_attention, subject, evidence, facts)


@pytest.mark.claim("subject-mlp-brings-fact-back")
def test_brought_back(subject, evidence, facts):
    recorded(restored_by_mlp, subject, evidence, facts)


@pytest.mark.claim("subject-mlp-brings-fact-back-from-noise")
def test_brought_back_from_noise(subject, evidence, facts):
    recorded(partial(restored_by_mlp, corruption="noise"), subject, evidence, facts)


@pytest.mark.claim("tracing-does-not-tell-where-edits-work")
def test_tracing_and_editing(subject, evidence, facts, rng):
    prompts, _, answers, countries = facts
    try:
        measurement = tracing_tells_editing(
            subject,
            prompts,
            countries,
            answers,
            other_answers(answers, rng),
            WORDINGS,
            share=evidence.claim.parameters["share"],
            seed=evidence.seed,
        )
    except (UnsupportedArchitecture, ValueError) as error:
        evidence.require(False, str(error))
    evidence.record(measurement)


def other_answers(answers, rng):
    """Two other answers for each fact, from those of the others: three different tokens."""
    pool = sorted(set(answers))
    drawn = [rng.permutation([token for token in pool if token != answer])[:2] for answer in answers]
    return [[int(two[number]) for two in drawn] for number in (0, 1)]
