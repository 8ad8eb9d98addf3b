"""Does one direction decide what kind of answer is given?

The published directions were tried on the prompts they came from, and no other push of that size beside them. Here the
direction comes from other requests than those it is tried on, and directions of its norm are tried as well: random
ones, ones between halves of the same requests dealt at random, and ones between kinds of prompts that refusing, or
calling a tool, has nothing to do with.
"""

import numpy as np
import pytest

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.introspection.steering.steer import Behaviour, steering
from lazarus_probe.tasks import language, prompts

CALL = "<function_call>"
OF_EACH = 24  # prompts of a kind that a direction between other kinds is taken on


def unlike(rng, *pairs):
    """Pairs of other kinds of prompts, by their names: tasks, kinds of review, or operations."""
    pools = {
        "tool": [each.prompt for each in language.tool_calls()],
        "capital": [each.prompt for each in language.capitals()],
    }
    for each in (*language.requests(), *language.sentiment()):
        pools.setdefault(each.task if each.task != "sentiment" else each.response.strip(), []).append(
            each.prompt
        )
    for question in prompts.questions(rng, OF_EACH, phrasings=["compact"]):
        pools.setdefault(question.fact.operation, []).append(question.text)
    drawn = {
        name: rng.choice(pools[name], OF_EACH, replace=False).tolist() for pair in pairs for name in pair
    }
    return tuple((drawn[first], drawn[second]) for first, second in pairs)


def refusing(rng):
    """Requests that are refused, and those that are granted in the same phrasings."""
    asked = {
        kind: [each for each in language.requests() if each.task == kind] for kind in ("refusal", "help")
    }
    texts, units = (
        {kind: [getattr(each, of) for each in asked[kind]] for kind in asked} for of in ("prompt", "subject")
    )
    return Behaviour(
        texts["refusal"],
        texts["help"],
        units["refusal"],
        units["help"],
        lambda text: text.lstrip().startswith("Sorry"),
        max_tokens=3,
        others=unlike(
            rng, ("positive", "negative"), ("tool", "capital"), ("multiply", "add"), ("subtract", "divide")
        ),
    )


def calling(rng, count):
    """Requests that a tool is called for, and questions about capitals, which are answered."""
    pools = [list(language.tool_calls()), list(language.capitals())]
    drawn = [[pool[i] for i in rng.choice(len(pool), size=count, replace=False)] for pool in pools]
    texts, units = ([[getattr(each, of) for each in side] for side in drawn] for of in ("prompt", "subject"))
    others = unlike(
        rng, ("positive", "negative"), ("refusal", "help"), ("multiply", "add"), ("subtract", "divide")
    )
    return Behaviour(*texts, *units, lambda text: text.lstrip().startswith(CALL), others=others)


def require_behaviour(subject, evidence, behaviour, what):
    """The model must do the one thing for one kind of prompt and not for the other."""
    shown, plain = behaviour.rates(subject)
    needed = evidence.claim.parameters["answered"]
    evidence.require(
        shown >= needed and 1 - plain >= needed,
        f"it {what} in {shown:.2f} of the cases it should and in {plain:.2f} of those it should not; "
        f"at least {needed:.2f} and at most {1 - needed:.2f} needed",
    )


@pytest.mark.claim("refusal-readable-early")
def test_refusal_readable(subject, untrained_models, activations, evidence, rng):
    behaviour = refusing(rng)
    require_behaviour(subject, evidence, behaviour, "refuses")
    labels = ["refused"] * len(behaviour.positive) + ["granted"] * len(behaviour.negative)
    units = np.array([*behaviour.positive_units, *behaviour.negative_units])
    labelled = ProbeDataset([*behaviour.positive, *behaviour.negative], labels, groups=units)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    evidence.record(
        probe(subject, untrained_models, labelled, resid_post(layer), store=activations, seed=evidence.seed)
    )


def steer(subject, evidence, behaviour, tasks):
    """Steering where the claim says; the damage is told on prompts of no task that the behaviour is made of."""
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    unrelated = unrelated_prompts(tasks, evidence.seed)
    strength = evidence.claim.parameters["strength"]
    evidence.record(steering(subject, behaviour, layer, strength, evidence.seed, unrelated))


@pytest.mark.claim("steering-makes-it-refuse")
def test_refusal(subject, evidence, rng):
    behaviour = refusing(rng)
    require_behaviour(subject, evidence, behaviour, "refuses")
    steer(subject, evidence, behaviour, ("refusal", "help"))


@pytest.mark.claim("steering-makes-tool-calls")
def test_tool_calls(subject, evidence, rng):
    behaviour = calling(rng, evidence.claim.parameters["questions"])
    require_behaviour(subject, evidence, behaviour, "calls a tool")
    steer(subject, evidence, behaviour, ("tool", "capital"))
