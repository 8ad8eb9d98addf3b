"""Does the choice of a review's sentiment rest on one direction, or can a probe just read it there?

The eraser is fitted on other adjectives than those that are tested, a probe is to find nothing after it, and the same
is done with random directions of the same whitened states, with shuffled labels, and in models that learnt nothing.
That one place is enough is an assumption: later layers could read the sentiment again from the tokens before.
"""

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.directions.concept_use import concept_used
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.introspection.generation.spelled import spelled_after
from lazarus_probe.tasks.further_language import reviews

SIDES = ("positive", "negative")


def plain_reviews(rng, per_class):
    """As many reviews of either sentiment, one of each adjective, none of which turns it round."""
    drawn = reviews(rng)[::2]
    sides = [[review for review in drawn if review.response.strip() == side] for side in SIDES]
    return [of_side[i] for of_side in sides for i in rng.choice(len(of_side), per_class, replace=False)]


@pytest.mark.claim("sentiment-direction-carries-sentiment")
def test_sentiment(subject, untrained_models, evidence, rng):
    claim = evidence.claim
    drawn = plain_reviews(rng, claim.parameters["per_class"])
    prompts, labels = [review.prompt for review in drawn], [review.response.strip() for review in drawn]

    def check(details):
        """What the claim presupposes of the model, before others are run."""
        right, needed = details["right"], claim.parameters["answered"]
        evidence.require(right >= needed, f"chooses right in {right:.2f} of the reviews; {needed:.2f} needed")
        before, after = details["probe"], details["probe_erased"]
        evidence.require(before["low"] > 0.5, f"a probe reads no sentiment there ({before['accuracy']:.2f})")
        evidence.require(
            after["low"] <= 0.5,
            f"a probe still reads the sentiment where it was erased ({after['accuracy']:.2f})",
        )

    try:
        spelled = spelled_after(
            subject, [*prompts, *prompts], [*labels, *(SIDES[label == SIDES[0]] for label in labels)]
        )
        measurement = concept_used(
            subject,
            untrained_models,
            prompts,
            labels,
            spelled.tokens[: len(prompts)],
            spelled.tokens[len(prompts) :],
            [review.subject for review in drawn],
            claim.layer_for(subject.name, subject.num_layers),
            unrelated=unrelated_prompts({"sentiment"}),
            seed=evidence.seed,
            claim=evidence.settles,
            check=check,
        )
    except (UnsupportedArchitecture, ValueError) as error:
        evidence.require(False, str(error))
    evidence.record(measurement)
