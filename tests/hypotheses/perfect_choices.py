"""The units of the claims in the topics of published findings, as their hypotheses draw them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perfect import MODEL_KINDS, Builder, Generator, of_units, pair

from lazarus_probe.claims.claim import Claim
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.tasks.calendar import SENTENCES
from lazarus_probe.tasks.contrasts import capital_contrasts, coloured_contrasts, year_contrasts
from lazarus_probe.tasks.listed import coloured_objects, docstring_arguments
from lazarus_probe.tasks.names import Choice, indirect_objects, pronouns
from lazarus_probe.tasks.word_contrasts import agreement, repeated_words
from lazarus_probe.tasks.years import spans


def chosen(draw: Callable[..., Sequence[Choice]]) -> Builder:
    """A choice in every contrast of prompts, with both of its units."""

    def built(claim: Claim, rng: Generator, perfect: bool) -> list[Any]:
        drawn = draw(rng, claim.parameters["per_template"])
        choices = list({choice.contrast: choice for choice in drawn}.values())
        units = [[choice.template for choice in choices], [choice.subject for choice in choices]]
        return [of_units(claim, dict(zip(claim.generalises_over, units, strict=True)), perfect)]

    return built


def ended(claim: Claim, rng: Generator, perfect: bool) -> list[Any]:
    """All of the probability on later years, or none more than with another start."""
    drawn = spans(rng, int(claim.parameters["per_template"]))
    units = {"template": [span.template for span in drawn], "year": [span.year for span in drawn]}
    return [of_units(claim, units, perfect)]


def rows(claim: Claim, _: Generator, perfect: bool) -> list[Any]:
    """Rows of random tokens, but those that heads are chosen on."""
    count = int(claim.parameters["rows"]) - int(claim.parameters.get("choosing", 0))
    return [of_units(claim, [str(row) for row in range(count)], perfect, (*MODEL_KINDS, "other_heads"))]


def fitted_lens(claim: Claim, _: Generator, perfect: bool) -> list[Any]:
    """The texts that a lens is not fitted on."""
    count = int(claim.parameters["texts"] * (1 - claim.parameters["fitted"]))
    return [of_units(claim, [str(row) for row in range(count)], perfect, (*MODEL_KINDS, "shuffled_states"))]


def countries(claim: Claim, _: Generator, perfect: bool) -> list[Any]:
    """The half of the fewest countries that it applies to."""
    count = int(claim.parameters["countries"]) // 2
    return [of_units(claim, [str(row) for row in range(count)], perfect)]


def every_country(claim: Claim, _: Generator, perfect: bool) -> list[Any]:
    """The fewest countries that it applies to."""
    return [of_units(claim, [str(row) for row in range(int(claim.parameters["countries"]))], perfect)]


def unrelated(claim: Claim, _: Generator, perfect: bool) -> list[Any]:
    """One prompt of every phrasing of the language tasks, and sentences."""
    return [of_units(claim, list(unrelated_prompts().units), perfect)]


def sequences(claim: Claim, _: Generator, perfect: bool) -> list[Any]:
    """The fewest ordered sequences that it applies to."""
    return [of_units(claim, [str(row) for row in range(claim.minimum_groups)], perfect)]


def sentences(claim: Claim, _: Generator, perfect: bool) -> list[Any]:
    """Every sentence, with one order of its own and with several others."""
    units = [str(row) for row in range(len(SENTENCES))]
    return [of_units(claim, units, perfect, (*MODEL_KINDS, "other_order"))]


def repaired(claim: Claim, _: Generator, perfect: bool) -> list[Any]:
    """The half that is tested of the fewest sentences that it applies to."""
    units = [str(row) for row in range(int(claim.parameters["templates"]) // 2)]
    return [of_units(claim, units, perfect, (*MODEL_KINDS, "other_heads"))]


def formed(claim: Claim, rng: Generator, perfect: bool) -> list[Any]:
    """Rows of random tokens under a model and the one it was trained from."""
    count = int(claim.parameters["rows"]) - int(claim.parameters["choosing"])
    return list(pair(lambda *_: [str(row) for row in range(count)])(claim, rng, perfect))


def shown(claim: Claim, _: Generator, perfect: bool) -> list[Any]:
    """Words of as few tasks as it applies to."""
    count = int(claim.parameters["tasks"]) * int(claim.parameters["tested"])
    words = [str(word) for word in range(count)]
    return [of_units(claim, words, perfect, (*MODEL_KINDS, "random_direction"))]


def adjectives(claim: Claim, _: Generator, perfect: bool) -> list[Any]:
    """The tested half of the adjectives of either side, of which three quarters are chosen right."""
    count = int(float(claim.parameters["answered"]) * int(claim.parameters["per_class"]))
    words = [str(word) for word in range(count)]
    return [of_units(claim, words, perfect, (*MODEL_KINDS, "random_subspace", "shuffled_labels"))]


def found_circuit(draw: Callable[..., Sequence[Choice]]) -> Builder:
    """The sentences that a circuit is not found on, a pair of each contrast."""

    def built(claim: Claim, rng: Generator, perfect: bool) -> list[Any]:
        drawn = draw(rng, claim.parameters["per_template"])
        choices = list({choice.contrast: choice for choice in drawn}.values())
        templates = sorted({choice.template for choice in choices})
        measured = set(templates[round(claim.parameters["found_on"] * len(templates)) :])
        kept = [choice for choice in choices if choice.template in measured]
        units = [[choice.template for choice in kept], [choice.subject for choice in kept]]
        by_kind = dict(zip(claim.generalises_over, units, strict=True))
        return [of_units(claim, by_kind, perfect, (*MODEL_KINDS, "random_circuits"))]

    return built


def product_circuit(claim: Claim, _: Generator, perfect: bool) -> list[Any]:
    """The pairs of digits that a circuit is not found on, of the 35 whose product is not their sum."""
    count = 35 - round(claim.parameters["found_on"] * 35)
    return [of_units(claim, [str(row) for row in range(count)], perfect, (*MODEL_KINDS, "random_circuits"))]


CHOICES: Mapping[str, Builder] = {
    "copying-head-exists": rows,
    "suppressing-head-exists": rows,
    "successor-head-exists": sequences,
    "loss-of-best-head-made-up-for": repaired,
    "induction-head-forms-in-training": formed,
    "days-lie-on-a-circle": sentences,
    "months-lie-on-a-circle": sentences,
    "entropy-neurons-act-through-norm": lambda claim, _, perfect: [
        of_units(claim, list(unrelated_prompts().units), perfect, (*MODEL_KINDS, "equal_norm"))
    ],
    "fitted-lens-names-tokens-earlier": fitted_lens,
    "middle-block-can-go": unrelated,
    "middle-neighbours-can-swap": unrelated,
    "function-vector-carries-task": shown,
    "function-vector-holds-in-another-form": shown,
    "sentiment-direction-carries-sentiment": adjectives,
    "answer-read-from-subject": countries,
    "subject-mlp-brings-fact-back": countries,
    "subject-mlp-brings-fact-back-from-noise": countries,
    "tracing-does-not-tell-where-edits-work": every_country,
    "induction-head-exists": rows,
    "induction-head-exists-among-words": rows,
    "duplicate-token-head-exists": rows,
    "previous-token-head-exists": rows,
    "induction-heads-carry-copying": rows,
    "induction-heads-carry-copying-resampled": rows,
    "heads-sink-into-first-token": rows,
    "massive-activations-exist": rows,
    "sinks-rest-on-massive-activations": rows,
    "residual-norm-grows": rows,
    "unrelated-states-point-one-way": rows,
    "indirect-object-preferred": chosen(indirect_objects),
    "pronoun-agrees-with-name": chosen(pronouns),
    "docstring-argument-is-next": chosen(docstring_arguments),
    "coloured-object-recalled": chosen(coloured_objects),
    "later-year-ends-a-span": ended,
    "indirect-object-circuit-is-faithful": found_circuit(indirect_objects),
    "pronoun-circuit-is-faithful": found_circuit(pronouns),
    "docstring-circuit-is-faithful": found_circuit(docstring_arguments),
    "coloured-object-circuit-is-faithful": found_circuit(coloured_contrasts),
    "later-year-circuit-is-faithful": found_circuit(year_contrasts),
    "repeated-word-circuit-is-faithful": found_circuit(repeated_words),
    "agreement-circuit-is-faithful": found_circuit(agreement),
    "capital-circuit-is-faithful": found_circuit(capital_contrasts),
    "product-circuit-is-faithful": product_circuit,
}
